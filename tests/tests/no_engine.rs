//! No engine is no error: lines carry the container's id alone, and names attach when an engine answers.

use std::os::unix::fs::symlink;

use anyhow::Result;
use capture_tests::{Agent, Attach, Container, engine, in_both_attach_modes};

in_both_attach_modes!(capture_goes_on_and_names_attach_later);

fn capture_goes_on_and_names_attach_later(attach: Attach) -> Result<()> {
    let engine = engine::ensure()?;
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("docker.sock");
    let agent = Agent::start(attach, &["--docker-host", &format!("unix://{}", socket.display())])?;
    let container = Container::start(&engine, "nameless", "while :; do echo here; sleep 0.1; done")?;
    agent.wait_until("lines with the id alone", |records| {
        records.iter().filter(|record| record.is_of(container.id()) && record.text("container_name").is_empty()).count()
            > 10
    })?;
    symlink(engine.socket(), &socket)?;
    agent.wait_until("a named line", |records| {
        records.iter().any(|record| record.is_of(container.id()) && record.is_named(container.name()))
    })
}
