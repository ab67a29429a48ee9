//! An engine that hangs costs names, never lines.

use anyhow::Result;
use capture_tests::{Agent, Attach, Container, Record, engine, in_both_attach_modes};

/// A line now and then, so that what the frozen engine does not take stays within the pipes' capacity.
const PRINTER: &str = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done";

in_both_attach_modes!(lines_go_on_while_the_engine_hangs);
in_both_attach_modes!(names_attach_when_the_engine_comes_back);

fn lines_go_on_while_the_engine_hangs(attach: Attach) -> Result<()> {
    let engine = engine::private()?;
    let agent = Agent::start(attach, &["--docker-host", &engine.host()])?;
    let container = Container::start(&engine, "frozen", PRINTER)?;
    agent.wait_until("a named line", |records| records.iter().any(|record| record.is_named(container.name())))?;
    engine.freeze()?;
    let before = numbers(&agent, container.id()).len();
    agent.wait_until("30 lines after the engine froze", |records| of(records, container.id()).count() > before + 30)?;
    engine.thaw()?;
    assert_complete(&numbers(&agent, container.id()));
    Ok(())
}

fn names_attach_when_the_engine_comes_back(attach: Attach) -> Result<()> {
    let engine = engine::private()?;
    let container = Container::start(&engine, "thawed", PRINTER)?;
    engine.freeze()?;
    let agent = Agent::start(attach, &["--docker-host", &engine.host()])?;
    let id = container.id();
    agent.wait_until("lines with the id alone", |records| of(records, id).count() > 10)?;
    let nameless =
        agent.wait_until("no name yet", |records| of(records, id).all(|record| !record.is_named(container.name())));
    engine.thaw()?;
    agent.wait_until("a named line", |records| of(records, id).any(|record| record.is_named(container.name())))?;
    assert_complete(&numbers(&agent, id));
    nameless
}

fn of<'a>(records: &'a [Record], id: &str) -> impl Iterator<Item = &'a Record> {
    records.iter().filter(move |record| record.is_of(id))
}

fn numbers(agent: &Agent, id: &str) -> Vec<u64> {
    agent.records_of(id).iter().filter_map(|record| record.message().parse().ok()).collect()
}

fn assert_complete(numbers: &[u64]) {
    let expected: Vec<u64> = (numbers[0]..).take(numbers.len()).collect();
    assert_eq!(numbers, expected, "lines are missing, twice or out of order");
}
