//! What every way of running the agent has to end in: another container's lines, and none of the agent's own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use capture_tests::poll::eventually;
use capture_tests::{Container, Engine, Record};

/// The agent may have to be loaded into the kernel first.
const DEADLINE: Duration = Duration::from_secs(45);
/// Lines after which an agent that captured itself would long have shown it: each would be one more.
const ENOUGH: usize = 20;

/// Starts a container that speaks on both streams, waits until `printed` (the agent's output, as JSON) has its lines with
/// name, image and label, and gives all records.
pub fn speaks(engine: &Arc<Engine>, topic: &str, printed: impl Fn() -> Result<String>) -> Result<Vec<Record>> {
    let script = "while :; do echo to stdout; echo to stderr >&2; sleep 0.05; done";
    let container = Container::builder(engine, topic)?
        .options(["--network", "none", "--label", "purpose=witness"])
        .start(&["sh", "-c", script])?;
    let mut last = String::new();
    let heard = eventually("lines of another container, with its name", DEADLINE, || {
        last = match printed() {
            Ok(text) => text,
            Err(error) => return Some(Err(error)),
        };
        let records = records(&last);
        let of = |stream: &str, message: &str| {
            let fits = |record: &&Record| {
                record.is_named(container.name())
                    && record.stream() == stream
                    && record.message() == message
                    && record.label("purpose") == Some("witness")
            };
            records.iter().filter(fits).count() > ENOUGH
        };
        (of("stdout", "to stdout") && of("stderr", "to stderr")).then_some(Ok(records))
    });
    heard.map_err(|error| error.context(format!("the agent printed:\n{}", tail(&last))))?
}

/// Fails if the agent's container is among those it captured.
pub fn is_not_its_own(records: &[Record], agent: &Container) -> Result<()> {
    let own = records.iter().filter(|record| record.is_of(agent.id()) || record.is_named(agent.name())).count();
    ensure!(own == 0, "the agent has captured {own} records of its own container");
    Ok(())
}

/// The lines that are records; the agent's own log is among them where both go to one place.
pub fn records(printed: &str) -> Vec<Record> {
    printed.lines().filter_map(|line| Record::parse(line).ok()).collect()
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
