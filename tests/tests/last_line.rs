//! A last line without a newline is delivered when its container ends.

use anyhow::Result;
use capture_tests::{Agent, Attach, Container, engine, in_both_attach_modes};

in_both_attach_modes!(an_unfinished_line_is_delivered_at_the_end);
in_both_attach_modes!(an_unfinished_line_is_delivered_when_the_agent_ends);

fn an_unfinished_line_is_delivered_at_the_end(attach: Attach) -> Result<()> {
    let engine = engine::ensure()?;
    let agent = Agent::start(attach, &[])?;
    let script = "printf 'first\\nlast, unfinished'; printf 'of the errors' >&2";
    let name = Container::builder(&engine, "last")?.run(&["sh", "-c", script])?;
    let records = agent.wait_for_message(&name, "last, unfinished")?;
    assert!(records.iter().any(|record| record.message() == "first"));
    agent.wait_for_message(&name, "of the errors")?;
    let mut messages = agent.messages_for(&name);
    messages.sort_unstable();
    assert_eq!(messages, ["first", "last, unfinished", "of the errors"]);
    Ok(())
}

fn an_unfinished_line_is_delivered_when_the_agent_ends(attach: Attach) -> Result<()> {
    let engine = engine::ensure()?;
    let agent = Agent::start(attach, &[])?;
    let container = Container::start(&engine, "prompt", "echo first; printf 'password: '; echo e >&2; sleep 600")?;
    agent.wait_for_message(container.name(), "first")?;
    agent.wait_for_message(container.name(), "e")?;
    let ended = agent.terminate()?;
    let mut messages = ended.messages_for(container.name());
    messages.sort_unstable();
    assert_eq!(messages, ["e", "first", "password: "]);
    Ok(())
}
