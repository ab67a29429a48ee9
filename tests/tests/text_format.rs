//! `--format text` is for people: the container's name, the stream, the line.

use anyhow::Result;
use capture_tests::poll::{DEADLINE, eventually};
use capture_tests::{Agent, Attach, Container, engine};

#[test]
fn a_line_is_name_stream_and_message() -> Result<()> {
    let engine = engine::ensure()?;
    let agent = Agent::start(Attach::Raw, &["--format", "text"])?;
    let container = Container::start(&engine, "text", "echo to people; echo to them too >&2; sleep 600")?;
    for (stream, message) in [("stdout", "to people"), ("stderr", "to them too")] {
        let wanted = [container.name(), stream, "|", message];
        let line = eventually(&format!("`{}`", wanted.join(" ")), DEADLINE, || {
            agent.plain_lines().into_iter().find(|line| words(line) == wanted.join(" "))
        })?;
        assert!(!line.contains('\x1b'), "colours where no terminal is: {line:?}");
    }
    Ok(())
}

/// The line with its padding reduced to single spaces.
fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
