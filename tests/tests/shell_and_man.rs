//! Completions are read by a real shell and complete; man pages are read by a real groff without a complaint.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use capture_tests::{process, workspace};

const DEADLINE: Duration = Duration::from_secs(30);

/// What bash offers after `words`, the last of which is being typed.
fn offered(words: &[&str]) -> Result<Vec<String>> {
    let completions = r#"source <("$0" completions bash) || exit 1
        shift_to=$#; COMP_WORDS=("$@"); COMP_CWORD=$((shift_to - 1))
        # What `complete` says is to be called for the program.
        function=$(complete -p capture-agent | sed 's/.*-F \([^ ]*\).*/\1/')
        "$function" capture-agent "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let mut bash = Command::new("bash");
    bash.args(["--noprofile", "--norc", "-c", completions]).arg(workspace::agent_binary()).args(words);
    Ok(process::text(&mut bash, DEADLINE)?.lines().map(str::to_owned).collect())
}

#[test]
fn bash_completes_commands_flags_and_values() -> Result<()> {
    assert_eq!(offered(&["capture-agent", "doc"])?, ["doctor"]);
    assert_eq!(offered(&["capture-agent", "run", "--ring"])?, ["--ring-size"]);
    assert_eq!(offered(&["capture-agent", "run", "--attach", ""])?, ["auto", "syscalls", "raw"]);
    assert_eq!(offered(&["capture-agent", "completions", "z"])?, ["zsh"]);
    Ok(())
}

#[test]
fn groff_reads_every_page_without_a_complaint() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut agent = Command::new(workspace::agent_binary());
    process::text(agent.arg("man").arg(directory.path()), DEADLINE)?;
    let mut pages = 0;
    for page in fs::read_dir(directory.path())? {
        let page = page?.path();
        let mut groff = Command::new("groff");
        // All warnings that there are, and letters only once.
        groff.args(["-man", "-Tutf8", "-ww", "-Kutf8", "-P-cbou"]).arg(&page);
        let output = process::output(&mut groff, DEADLINE)?;
        let complaints = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && complaints.is_empty(), "{}: {complaints}", page.display());
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(text.contains("SYNOPSIS") && text.contains("capture-agent"), "{}: {text}", page.display());
        pages += 1;
    }
    ensure!(pages > 5, "only {pages} pages");
    Ok(())
}
