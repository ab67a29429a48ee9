//! What can go wrong at the start is told in one sentence that names the cause, with exit code 1.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use capture_agent::session::ledger::Ledger;
use capture_agent::session::state::{Saved, StateDir, StateWriter};
use capture_tests::agent::{COMMAND_DEADLINE, free_address};
use capture_tests::{process, workspace};
use tempfile::TempDir;

#[test]
fn not_root() -> Result<()> {
    let (_directory, agent) = reachable_agent()?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", &agent, "run"]);
    fails_with(&mut command, &["root"])
}

#[test]
fn a_missing_capability() -> Result<()> {
    let (_directory, agent) = reachable_agent()?;
    let mut command = Command::new("setpriv");
    let without = "-sys_admin,-bpf,-perfmon";
    command.args(["--bounding-set", without, "--inh-caps", without, &agent, "run"]);
    fails_with(&mut command, &["CAP_"])
}

#[test]
fn a_taken_port() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    // Where an earlier agent was at work there is more that could be said.
    let state = left_by_an_earlier_agent()?;
    let mut command = Command::new(workspace::agent_binary());
    command.args(["run", "--listen", &address, "--state-dir"]).arg(state.path());
    fails_with(&mut command, &[&address, "in use"])
}

#[test]
fn an_unknown_flag() -> Result<()> {
    let mut command = Command::new(workspace::agent_binary());
    command.args(["run", "--no-such-flag"]);
    fails_with(&mut command, &["--no-such-flag"])
}

#[test]
fn an_unknown_attach_mode() -> Result<()> {
    let mut command = Command::new(workspace::agent_binary());
    command.args(["run", "--attach", "telepathy"]);
    fails_with(&mut command, &["telepathy"])
}

#[test]
fn a_kernel_without_btf() -> Result<()> {
    fails_with(&mut without_directories(&["/sys/kernel/btf"], "raw")?, &["BTF"])
}

#[test]
fn a_kernel_without_tracefs() -> Result<()> {
    fails_with(&mut without_directories(&["/sys/kernel/tracing", "/sys/kernel/debug"], "syscalls")?, &["tracefs"])
}

/// The agent where the directories are empty, as on a kernel that does not fill them.
fn without_directories(directories: &[&str], attach: &str) -> Result<Command> {
    let covers: Vec<String> =
        directories.iter().map(|path| format!("{{ [ ! -d {path} ] || mount -t tmpfs none {path}; }}")).collect();
    let agent = workspace::agent_binary();
    let listen = free_address()?;
    let script = format!("{} && exec {} run --attach {attach} --listen {listen}", covers.join(" && "), agent.display());
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
    Ok(command)
}

/// The state directory of an agent that has captured a container.
fn left_by_an_earlier_agent() -> Result<TempDir> {
    let directory = tempfile::tempdir()?;
    let ledger = Arc::new(Ledger::new(Duration::ZERO));
    let (state, _) = StateDir::open(directory.path(), &ledger)?;
    let writer = StateWriter::start(state, ledger)?;
    writer.save(Saved { container_id: "ab".repeat(32).into(), sealed_at: 1, ..Saved::default() });
    // Ends when it has written.
    drop(writer);
    Ok(directory)
}

/// A copy of the agent that any user may run: the target directory may be under a home that others cannot enter.
fn reachable_agent() -> Result<(TempDir, String)> {
    let directory = tempfile::tempdir_in("/tmp")?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    let copy = directory.path().join("capture-agent");
    let agent = workspace::agent_binary();
    fs::copy(&agent, &copy).with_context(|| format!("{}: not built", agent.display()))?;
    let path = copy.to_str().context("the temporary directory's name is not UTF-8")?.to_owned();
    Ok((directory, path))
}

/// Exit code 1, nothing on stdout, and one line on stderr with all of `words`.
fn fails_with(command: &mut Command, words: &[&str]) -> Result<()> {
    let output = process::output(command, COMMAND_DEADLINE)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(stderr.lines().filter(|line| !line.trim().is_empty()).count(), 1, "not one sentence:\n{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word} is not named: {stderr}");
    }
    Ok(())
}
