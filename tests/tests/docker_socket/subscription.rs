//! Events: none lost and none handled twice, over subscriptions that are opened anew and engines that come and go.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use capture_tests::poll::{DEADLINE, eventually};
use capture_tests::{Agent, Attach, Container, engine};

use crate::spy::Spy;

const PRINTER: &str = "while :; do echo here; sleep 0.1; done";

#[test]
fn a_subscription_that_is_opened_anew_handles_each_event_once() -> Result<()> {
    let engine = engine::private()?;
    let spy = Spy::before(&engine)?;
    let agent = Agent::start(Attach::Raw, &["--docker-host", &spy.host(), "--docker-resubscribe", "1s"])?;
    let mut containers = Vec::new();
    // Made all over the interval, so that some fall where one subscription ends and the next begins.
    for _ in 0..8 {
        containers.push(Container::start(&engine, "each", PRINTER)?);
        thread::sleep(Duration::from_millis(130));
    }
    let reopened = || (spy.requests("/events?").len() >= 8).then_some(());
    eventually("eight subscriptions", DEADLINE, reopened)?;
    for container in &containers {
        agent.wait_for_message(container.name(), "here")?;
        let asked = spy.requests(container.id());
        ensure!(asked.len() == 1, "the engine replays each event; inspected: {asked:?}");
    }
    let subscriptions = spy.requests("/events?");
    ensure!(subscriptions[1..].iter().all(|request| request.contains("since=")), "{subscriptions:?}");
    let lists = spy.requests("/containers/json").len();
    ensure!(lists.abs_diff(subscriptions.len()) <= 1, "{lists} lists after {} subscriptions", subscriptions.len());
    let metrics = agent.metrics()?;
    ensure!(metrics["log_capturer_docker_reconnects_total"] < 0.5, "opening anew is no reconnect");
    ensure!(metrics["log_capturer_docker_event_stream_age_seconds"] < 2.0, "older than its interval");
    Ok(())
}

#[test]
fn a_container_that_is_renamed_has_its_new_name_in_the_records() -> Result<()> {
    let engine = engine::private()?;
    let agent = Agent::start(Attach::Raw, &["--docker-host", &engine.host()])?;
    let container = Container::start(&engine, "before", PRINTER)?;
    agent.wait_for_message(container.name(), "here")?;
    let renamed = format!("{}-after", container.name());
    engine.docker(["rename", container.name(), &renamed])?;
    agent.wait_for_message(&renamed, "here")?;
    engine.docker(["rename", &renamed, container.name()])?;
    Ok(())
}

#[test]
fn an_engine_that_was_killed_and_started_again_is_found() -> Result<()> {
    let engine = engine::private()?;
    let agent = Agent::start(Attach::Raw, &["--docker-host", &engine.host()])?;
    let before = Container::start(&engine, "before", PRINTER)?;
    agent.wait_for_message(before.name(), "here")?;
    engine.kill()?;
    let is_up = |up: bool| {
        let is =
            move |agent: &Agent| agent.metrics().is_ok_and(|all| (all["log_capturer_docker_socket_up"] > 0.0) == up);
        eventually("the socket to change", DEADLINE, || is(&agent).then_some(()))
    };
    is_up(false)?;
    engine.start_again()?;
    // Made while nobody is subscribed: only the list has it.
    let meanwhile = Container::start(&engine, "meanwhile", PRINTER)?;
    is_up(true)?;
    agent.wait_for_message(meanwhile.name(), "here")?;
    let metrics = agent.metrics()?;
    let reconnects = metrics["log_capturer_docker_reconnects_total"];
    ensure!((0.5..1.5).contains(&reconnects), "{reconnects} reconnects");
    let after = Container::start(&engine, "after", PRINTER)?;
    agent.wait_for_message(after.name(), "here")?;
    Ok(())
}
