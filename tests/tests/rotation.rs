//! A session is sealed on its interval without a byte lost or doubled, and what it stood at outlives the agent.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use capture_tests::poll::{DEADLINE, eventually};
use capture_tests::{Agent, Attach, Container, engine, in_both_attach_modes};
use rustix::process::Signal;
use serde_json::Value;

in_both_attach_modes!(lines_are_whole_over_many_rotations);

/// Numbers as fast as a shell writes them, in bursts over some seconds, and then a last word.
const BUSY: &str = "i=0; for n in 1 2 3 4 5 6; do while [ $i -lt ${n}0000 ]; do i=$((i+1)); echo $i; done; sleep 0.5; done; \
                    echo end >&2; sleep 600";
const LINES: u64 = 60_000;

fn lines_are_whole_over_many_rotations(attach: Attach) -> Result<()> {
    let engine = engine::ensure()?;
    let state = tempfile::tempdir()?;
    let agent = Agent::start(attach, &["--rotation-interval", "1s", "--state-dir", path(state.path())?])?;
    let container = Container::start(&engine, "rotation", BUSY)?;
    agent.wait_for_message(container.name(), "end")?;
    let written = (1..=LINES).map(|number| number.to_string().len() as u64 + 1).sum::<u64>();
    // Sealed after its last byte.
    let saved = eventually("the whole output to be saved", DEADLINE, || {
        let saved = saved(state.path(), container.id())?;
        (saved["stdout"]["position"] == written && saved["stderr"]["position"] == 4).then_some(saved)
    })?;
    let metrics = agent.metrics()?;
    let of_container = |family: &str| of(&metrics, family, container.id());
    assert!(of_container("log_capturer_stream_rotations_total") >= 2.0, "{:?}", saved["sessions"]);
    assert!(of_container("log_capturer_stream_errors_total").abs() < 0.5);
    assert!(metrics["log_capturer_reconcile_failures_total"].abs() < 0.5);
    assert!(metrics["log_capturer_stream_age_seconds_count"] >= 2.0);
    assert_eq!(saved["stdout"]["captured"], written);
    assert_eq!(saved["stdout"]["lost"], 0);

    let numbers: Vec<u64> =
        agent.records_of(container.id()).iter().filter_map(|record| record.message().parse().ok()).collect();
    let expected: Vec<u64> = (1..=LINES).collect();
    assert!(numbers == expected, "{} numbers; lines are missing, twice or out of order", numbers.len());
    Ok(())
}

#[test]
fn a_killed_agent_leaves_its_position_and_the_next_goes_on() -> Result<()> {
    let engine = engine::ensure()?;
    let state = tempfile::tempdir()?;
    let arguments = ["--rotation-interval", "1s", "--state-dir", path(state.path())?];
    let agent = Agent::start(Attach::Raw, &arguments)?;
    let container = Container::start(&engine, "killed", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done")?;
    let killed_at = eventually("a second session to be saved", DEADLINE, || {
        saved(state.path(), container.id()).filter(|saved| saved["sessions"].as_u64() >= Some(2))
    })?;
    agent.end(Signal::KILL)?;

    let agent = Agent::start(Attach::Raw, &arguments)?;
    let position = |saved: &Value| saved["stdout"]["position"].as_u64().unwrap_or_default();
    let went_on = eventually("the next agent to go on", DEADLINE, || {
        saved(state.path(), container.id()).filter(|now| position(now) > position(&killed_at) + 20)
    })?;
    assert!(went_on["sessions"].as_u64() > killed_at["sessions"].as_u64());
    assert_eq!(went_on["container_name"], container.name());
    assert!(agent.stderr().contains("going on where an earlier agent stopped"), "{}", agent.stderr());

    // Asked to end, it saves the very last byte.
    let ended = agent.terminate()?;
    let lines = ended.records.iter().filter(|record| record.is_of(container.id()));
    let delivered: u64 = lines.map(|record| record.message().len() as u64 + 1).sum();
    let last = saved(state.path(), container.id()).context("no state after the end")?;
    assert!(
        position(&last) >= position(&killed_at) + delivered,
        "{last} after {delivered} bytes more than {killed_at}"
    );
    assert_eq!(last["stdout"]["captured"], last["stdout"]["position"]);
    Ok(())
}

#[test]
fn a_rename_is_in_the_series_of_the_rotations() -> Result<()> {
    let engine = engine::ensure()?;
    let agent = Agent::start(Attach::Raw, &["--rotation-interval", "1s"])?;
    let container = Container::start(&engine, "renamed", "echo here; sleep 600")?;
    agent.wait_for_message(container.name(), "here")?;
    let renamed = format!("{}-again", container.name());
    engine.docker(["rename", container.name(), &renamed])?;
    let rotations = format!(
        "log_capturer_stream_rotations_total{{container_id=\"{}\",container_name=\"{renamed}\"}}",
        container.id()
    );
    let outcome = eventually("a rotation under the new name", DEADLINE, || {
        agent.metrics().ok()?.get(&rotations).filter(|count| **count >= 1.0).map(|_| ())
    });
    // The container's guard removes it by its old name.
    engine.docker(["rename", &renamed, container.name()])?;
    outcome
}

#[test]
fn one_state_directory_serves_one_agent() -> Result<()> {
    let state = tempfile::tempdir()?;
    let arguments = ["--state-dir", path(state.path())?];
    let _first = Agent::start(Attach::Raw, &arguments)?;
    let second = Agent::spawn(&arguments)?;
    let ended = second.wait()?;
    assert!(!ended.status.success());
    assert!(ended.stderr.contains("is in use by another capture-agent"), "{}", ended.stderr);
    Ok(())
}

fn path(directory: &Path) -> Result<&str> {
    directory.to_str().context("the path of the temporary directory is no text")
}

fn saved(directory: &Path, id: &str) -> Option<Value> {
    let file = std::fs::read(directory.join(id).with_extension("json")).ok()?;
    // Renamed into place: whenever it is there, it is whole.
    Some(serde_json::from_slice(&file).expect("a state file that is not whole"))
}

/// The sum of a family over the series of a container.
fn of(metrics: &HashMap<String, f64>, family: &str, id: &str) -> f64 {
    let is_meant = |name: &str| name.starts_with(&format!("{family}{{")) && name.contains(id);
    metrics.iter().filter(|(name, _)| is_meant(name)).map(|(_, value)| value).sum()
}
