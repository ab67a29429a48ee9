//! `/api/v1`: what passes is streamed to who asks for it, and costs capture nothing.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use capture_tests::poll::{DEADLINE, eventually};
use capture_tests::{Agent, Attach, Container, engine, http};
use rustix::process::Signal;
use serde_json::Value;

use crate::viewer::Viewer;

fn json(agent: &Agent, path: &str) -> Result<Value> {
    let (status, body) = http::get(agent.address(), path)?;
    anyhow::ensure!(status == 200, "{path} answers {status}: {body}");
    Ok(serde_json::from_str(&body)?)
}

fn of<'a>(list: &'a Value, id: &str) -> Option<&'a Value> {
    list["containers"].as_array()?.iter().find(|container| container["id"] == id)
}

#[test]
fn records_come_to_who_asked_for_them() -> Result<()> {
    let engine = engine::ensure()?;
    let agent = Agent::start(Attach::Raw, &["--recent-size", "1MiB"])?;
    let web = Container::builder(&engine, "web")?.options(["--label", "team=shop"]).start(&[
        "sh",
        "-c",
        "i=0; while :; do echo out $i; echo err $i >&2; i=$((i+1)); sleep 0.1; done",
    ])?;
    let db = Container::start(&engine, "db", "echo first; while :; do echo tick; sleep 0.1; done")?;
    agent.wait_for_message(db.name(), "first")?;

    let mut everything = Viewer::open(agent.address(), "")?;
    let mut seen = [false; 2];
    while seen != [true; 2] {
        let (name, _) = everything.next_line()?;
        seen[0] |= name == web.name();
        seen[1] |= name == db.name();
    }
    let mut errors = Viewer::open(agent.address(), "?label=team%3Ds*&stream=stderr&grep=%5Eerr")?;
    for _ in 0..5 {
        let (name, message) = errors.next_line()?;
        assert!(name == web.name() && message.starts_with("err "), "{name} {message}");
    }
    let mut recent = Viewer::open(agent.address(), &format!("?name={}&since_start=true", db.name()))?;
    assert_eq!(recent.next_line()?, (db.name().to_owned(), "first".to_owned()), "what came before the question");
    for _ in 0..5 {
        assert_eq!(recent.next_line()?, (db.name().to_owned(), "tick".to_owned()));
    }

    let containers = json(&agent, "/api/v1/containers?history=1")?;
    let web_now = of(&containers, web.id()).context("the container is not listed")?;
    assert_eq!(web_now["name"], web.name());
    assert_eq!((&web_now["labels"]["team"], &web_now["running"]), (&"shop".into(), &true.into()));
    assert!(web_now["rate"]["lines"].as_f64() > Some(1.0), "{web_now}");
    assert!(web_now["totals"]["written"].as_u64() > Some(0) && web_now["totals"]["lost"] == 0, "{web_now}");
    assert!(web_now["history"].as_array().is_some_and(|points| !points.is_empty()), "{web_now}");
    assert!(web_now["session"]["age_seconds"].as_f64() > Some(0.0), "{web_now}");
    let sinks = json(&agent, "/api/v1/sinks")?;
    assert_eq!((&sinks["sinks"][0]["name"], &sinks["sinks"][0]["state"]), (&"default".into(), &"up".into()));
    assert!(sinks["sinks"][0]["delivered"].as_u64() > Some(5), "{sinks}");
    let told = json(&agent, "/api/v1/agent")?;
    assert_eq!((&told["state"], &told["docker"]["up"]), (&"capturing".into(), &true.into()), "{told}");
    assert_eq!(told["live"]["viewers"], 3, "{told}");
    drop((everything, errors, recent));
    eventually("viewers to be gone", DEADLINE, || {
        let told = json(&agent, "/api/v1/agent").ok()?;
        (told["live"]["viewers"] == 0).then_some(())
    })?;
    // One that ended is still told of, for the grace.
    let id = web.id().to_owned();
    drop(web);
    eventually("the container's end", DEADLINE, || {
        let containers = json(&agent, "/api/v1/containers").ok()?;
        (of(&containers, &id)?["running"] == false).then_some(())
    })
}

#[test]
fn a_viewer_that_does_not_read_costs_no_sink_a_line() -> Result<()> {
    const LINES: usize = 400_000;
    let engine = engine::ensure()?;
    let output = tempfile::tempdir()?;
    let template = format!("{}/{{container_name}}", output.path().display());
    let agent = Agent::start(Attach::Raw, &["--file-path", &template, "--file-encoding", "raw"])?;
    let mut lazy = Viewer::open(agent.address(), "")?;
    let mut narrow = Viewer::open(agent.address(), "?grep=%5Ethe+last$")?;
    let container = Container::builder(&engine, "flood")?.options(["--log-driver", "none"]).start(&[
        "sh",
        "-c",
        &format!("yes 'a line that is neither short nor long, and the same as all' | head -n {LINES}; sleep 2; echo the last; sleep 600"),
    ])?;
    let file = output.path().join(container.name());
    let lines = || std::fs::read_to_string(&file).map_or(0, |text| text.lines().count());
    eventually("all lines to be in the file", Duration::from_mins(2), || (lines() == LINES + 1).then_some(()))?;
    // A filter leaves the rest out before it is a burden. On a slow machine not all of the flood may have been looked at.
    let mut unseen = 0;
    let found = loop {
        let event = narrow.next()?;
        match event.name.as_str() {
            "dropped" => unseen += event.data["records"].as_u64().unwrap_or_default(),
            "" => break event.data,
            _ => {}
        }
    };
    assert_eq!(found["message"], "the last");
    let metrics = agent.metrics()?;
    let lost: f64 = metrics.iter().filter(|(name, _)| is_loss(name)).map(|(_, value)| value).sum();
    assert!(lost.abs() < 0.5, "{lost} bytes are missing");

    // It reads at last: what it was too slow for is told, and counted.
    let (mut shown, mut dropped) = (0, 0);
    while shown + dropped < LINES as u64 + 1 {
        let event = lazy.next()?;
        match event.name.as_str() {
            "dropped" => dropped += event.data["records"].as_u64().unwrap_or_default(),
            "" => shown += 1,
            _ => {}
        }
    }
    assert_eq!(shown + dropped, LINES as u64 + 1);
    assert!(dropped > 0, "{LINES} lines fit into what a viewer may hold");
    println!("{LINES} lines, none lost: {dropped} not shown to who does not read, {unseen} not looked at for a filter");
    let told = json(&agent, "/api/v1/agent")?;
    assert_eq!(told["live"]["dropped"], dropped + unseen, "counted, and told");
    Ok(())
}

fn is_loss(name: &str) -> bool {
    name.starts_with("log_capturer_lost_bytes_total") || name.starts_with("log_capturer_dropped_bytes_total")
}

#[test]
fn one_stream_too_many_is_refused_and_counted() -> Result<()> {
    let agent = Agent::start(Attach::Raw, &["--viewers-max", "1"])?;
    let first = Viewer::open(agent.address(), "")?;
    let (status, told) = http::get(agent.address(), "/api/v1/stream")?;
    assert_eq!((status, told.contains("there are 1 streams already")), (503, true), "{told}");
    let metrics = agent.metrics()?;
    let value = |name: &str| metrics.get(name).copied();
    assert_eq!(value("log_capturer_live_viewers"), Some(1.0));
    assert_eq!(value("log_capturer_live_refused_total"), Some(1.0));
    drop(first);
    Ok(())
}

#[test]
fn while_it_drains_the_agent_is_alive_and_not_ready() -> Result<()> {
    let engine = engine::ensure()?;
    let home = tempfile::tempdir()?;
    let pipe = home.path().join("pipe");
    capture_tests::process::text(std::process::Command::new("mkfifo").arg(&pipe), DEADLINE)?;
    // Its reader takes nothing: the sink is stuck until the grace is over.
    let reader = rustix::fs::open(&pipe, rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())?;
    let agent = Agent::start(Attach::Raw, &["--file-path", &pipe.display().to_string()])?;
    let mut viewer = Viewer::open(agent.address(), "")?;
    let container = Container::start(&engine, "stuck", "yes stuck | head -n 200000; sleep 600")?;
    assert_eq!(viewer.next_line()?.0, container.name());
    // The pipe is full by then.
    thread::sleep(Duration::from_secs(1));
    agent.signal(Signal::TERM)?;
    let begun = Instant::now();
    let readiness = || http::get(agent.address(), "/readyz");
    let (status, told) =
        eventually("the agent to drain", DEADLINE, || readiness().ok().filter(|(status, _)| *status == 503))?;
    assert_eq!((status, told.as_str()), (503, "draining\n"), "{:?}", begun.elapsed());
    assert_eq!(http::get(agent.address(), "/healthz")?.0, 200);
    // Whoever looks is told that it ends.
    let end = loop {
        let event = viewer.next()?;
        if event.name == "end" {
            break begun.elapsed();
        }
    };
    let ended = agent.wait()?;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    println!("the end was told after {:.1} s of draining", end.as_secs_f64());
    drop(reader);
    Ok(())
}
