//! What `docker exec` prints goes to whoever ran it, and is no output of the container; unless it writes to the
//! output of the container's own process.

use anyhow::Result;
use capture_tests::{Agent, Attach, Container, engine, in_both_attach_modes};

in_both_attach_modes!(only_what_reaches_the_container_output_is_captured);

fn only_what_reaches_the_container_output_is_captured(attach: Attach) -> Result<()> {
    let engine = engine::ensure()?;
    let agent = Agent::start(attach, &[])?;
    let container = Container::start(&engine, "exec", "echo begin; sleep 600")?;
    agent.wait_for_message(container.name(), "begin")?;
    assert_eq!(container.exec("echo private; echo private >&2")?, "private");
    container.exec("echo for-the-log >/proc/1/fd/1; echo for-the-errors >/proc/1/fd/2")?;
    container.exec("echo private-again; echo end >/proc/1/fd/1")?;
    let records = agent.wait_for_message(container.name(), "end")?;
    agent.wait_for_message(container.name(), "for-the-errors")?;
    let seen: Vec<(&str, &str)> = records.iter().map(|record| (record.stream(), record.message())).collect();
    let expected = [("stdout", "begin"), ("stdout", "for-the-log"), ("stderr", "for-the-errors"), ("stdout", "end")];
    assert_eq!(sorted(&seen), sorted(&expected));
    Ok(())
}

/// The two streams have no order between them.
fn sorted<'a>(pairs: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut pairs = pairs.to_vec();
    pairs.sort_unstable();
    pairs
}
