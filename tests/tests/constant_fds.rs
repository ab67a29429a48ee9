//! The agent holds as many files and threads with thirty containers as with one.

use std::fs;

use anyhow::{Context, Result};
use capture_tests::poll::{DEADLINE, settled};
use capture_tests::{Agent, Attach, Container, engine, in_both_attach_modes};

in_both_attach_modes!(files_and_threads_do_not_grow_with_containers);

fn files_and_threads_do_not_grow_with_containers(attach: Attach) -> Result<()> {
    let engine = engine::ensure()?;
    let agent = Agent::start(attach, &[])?;
    let start = || Container::start(&engine, "many", "while :; do echo here; sleep 1; done");
    let mut containers = vec![start()?];
    agent.wait_for_message(containers[0].name(), "here")?;
    let with_one = settled("files and threads", DEADLINE, || counts(agent.id()))?;
    for _ in 1..30 {
        containers.push(start()?);
    }
    for container in &containers {
        agent.wait_for_message(container.name(), "here")?;
    }
    let with_thirty = settled("files and threads", DEADLINE, || counts(agent.id()))?;
    assert_eq!(with_one, with_thirty, "open files and threads, with 1 and with 30 containers");
    Ok(())
}

/// Open files and threads of a process.
fn counts(id: u32) -> Result<(usize, usize)> {
    let entries = |directory: &str| -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{id}/{directory}")).context("the agent is gone")?.count())
    };
    Ok((entries("fd")?, entries("task")?))
}
