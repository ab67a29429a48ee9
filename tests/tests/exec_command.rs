//! `capture-agent exec` captures any command, without an engine, and ends as the command does.

use std::process::Output;

use anyhow::Result;
use capture_tests::agent::{self, COMMAND_DEADLINE};
use capture_tests::{Attach, Record, in_both_attach_modes, process};

in_both_attach_modes!(both_streams_are_captured);
in_both_attach_modes!(the_first_and_the_last_byte_are_captured);

fn both_streams_are_captured(attach: Attach) -> Result<()> {
    let output = exec(&["--attach", attach.flag(), "--name", "greeter"], "echo out; echo err >&2")?;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let mut seen: Vec<(String, String)> = Vec::new();
    for record in records(&output)? {
        assert_eq!(record.text("container_name"), "greeter");
        seen.push((record.stream().to_owned(), record.message().to_owned()));
    }
    seen.sort_unstable();
    assert_eq!(seen, [("stderr", "err"), ("stdout", "out")].map(|(a, b)| (a.to_owned(), b.to_owned())));
    Ok(())
}

fn the_first_and_the_last_byte_are_captured(attach: Attach) -> Result<()> {
    let output = exec(&["--attach", attach.flag()], "seq 1 20000; printf unfinished")?;
    let messages: Vec<String> = records(&output)?.iter().map(|record| record.message().to_owned()).collect();
    let expected: Vec<String> = (1..=20_000).map(|i| i.to_string()).chain(["unfinished".to_owned()]).collect();
    assert!(messages == expected, "{} of {} lines", messages.len(), expected.len());
    Ok(())
}

#[test]
fn the_exit_status_is_the_commands() -> Result<()> {
    assert_eq!(exec(&[], "exit 7")?.status.code(), Some(7));
    assert_eq!(exec(&[], "kill -TERM $$")?.status.code(), Some(128 + 15));
    Ok(())
}

#[test]
fn a_command_that_does_not_exist_is_one_sentence() -> Result<()> {
    let mut command = agent::command()?;
    command.args(["exec", "--", "no-such-command"]);
    let output = process::output(&mut command, COMMAND_DEADLINE)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(stderr.contains("no-such-command") && !stderr.contains("panicked"), "{stderr}");
    Ok(())
}

fn exec(flags: &[&str], script: &str) -> Result<Output> {
    let mut command = agent::command()?;
    command.arg("exec").args(flags).args(["--", "sh", "-c", script]);
    process::output(&mut command, COMMAND_DEADLINE)
}

fn records(output: &Output) -> Result<Vec<Record>> {
    String::from_utf8_lossy(&output.stdout).lines().map(Record::parse).collect()
}
