//! A socket that does not answer as an engine does costs one deadline, and no descriptor, thread or memory.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use capture_tests::{Agent, Attach, BlackHole};

use crate::certificates::Authority;
use crate::peer::{self, Peer};

/// Failures to see. The waits between them are the agent's own; each would leave something behind if one did.
const FAILURES: f64 = 6.0;
/// Bytes that memory may grow by where the peer says little. A container of somebody else's may be captured as well, and
/// what it prints at once is in memory for a moment.
const SLACK: u64 = 12 << 20;
/// So that it is no more than one.
const FEW: [&str; 2] = ["--sessions-max", "1"];

#[test]
fn one_that_accepts_and_never_answers() -> Result<()> {
    let peer = Peer::with(peer::mute)?;
    assert_costs_nothing(&["--docker-host", &peer.host()], "timeout", SLACK)
}

#[test]
fn one_that_trickles() -> Result<()> {
    let peer = Peer::with(peer::trickle)?;
    assert_costs_nothing(&["--docker-host", &peer.host()], "timeout", SLACK)
}

#[test]
fn one_that_never_accepts() -> Result<()> {
    let peer = Peer::with_full_queue()?;
    assert_costs_nothing(&["--docker-host", &peer.host()], "timeout", SLACK)
}

#[test]
fn one_that_is_gone_from_the_network() -> Result<()> {
    let hole = BlackHole::new()?;
    assert_costs_nothing(&["--docker-host", &format!("tcp://{}", hole.address())], "timeout", SLACK)
}

#[test]
fn one_that_never_ends_the_handshake_of_tls() -> Result<()> {
    let authority = Authority::new()?;
    let ca = authority.file("ca.pem").display().to_string();
    let host = format!("tcp://{}", peer::mute_port()?);
    assert_costs_nothing(&["--docker-host", &host, "--docker-tls-ca", &ca], "timeout", SLACK)
}

#[test]
fn one_whose_answer_has_no_end() -> Result<()> {
    let peer = Peer::with(peer::endless)?;
    // Whatever fits into the deadline is kept, up to 32 MiB, and put together once.
    assert_costs_nothing(&["--docker-host", &peer.host(), "--docker-deadline", "2s"], "protocol", 80 << 20)
}

#[test]
fn one_whose_event_has_no_end() -> Result<()> {
    let peer = Peer::with(peer::endless_event)?;
    assert_costs_nothing(&["--docker-host", &peer.host()], "protocol", 16 << 20)
}

#[test]
fn one_whose_events_have_no_end() -> Result<()> {
    let peer = Peer::with(peer::endless_events)?;
    let host = peer.host();
    let arguments = [&FEW[..], &["--docker-host", &host, "--docker-resubscribe", "1s"]].concat();
    let agent = Agent::start(Attach::Raw, &arguments)?;
    let mut seen = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(12) {
        seen.push(Sample::of(&agent)?);
        thread::sleep(Duration::from_millis(50));
    }
    ensure!(agent.metrics()?["log_capturer_docker_socket_up"] > 0.0, "{}", agent.stderr());
    // By then there are as many containers that are gone as are remembered.
    assert_flat(&seen[seen.len() / 2..], SLACK)
}

/// What the agent holds at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    files: usize,
    threads: usize,
    memory: u64,
    connections: f64,
    tasks: f64,
}

impl Sample {
    fn of(agent: &Agent) -> Result<Self> {
        let entries = |what| fs::read_dir(format!("/proc/{}/{what}", agent.id())).context("the agent is gone");
        let status = fs::read_to_string(format!("/proc/{}/status", agent.id()))?;
        // The ring buffer is resident as far as somebody's output has filled it, so it does not count.
        let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
        let kib: u64 = anonymous.trim().trim_end_matches(" kB").parse()?;
        let metrics = agent.metrics()?;
        Ok(Self {
            files: entries("fd")?.count(),
            threads: entries("task")?.count(),
            memory: kib << 10,
            connections: metrics["log_capturer_docker_open_connections"],
            tasks: metrics["log_capturer_tasks"],
        })
    }
}

/// Looks on while calls fail in this way, again and again.
fn assert_costs_nothing(arguments: &[&str], kind: &str, slack: u64) -> Result<()> {
    let quick = if arguments.contains(&"--docker-deadline") { &[][..] } else { &["--docker-deadline", "200ms"] };
    let agent = Agent::start(Attach::Raw, &[&FEW[..], quick, arguments].concat())?;
    let name = format!(r#"log_capturer_docker_errors_total{{kind="{kind}"}}"#);
    let begun = Instant::now();
    let mut seen = Vec::new();
    loop {
        let failures = agent.metrics()?[&name];
        // The first calls load what the agent needs for any.
        if failures >= 2.0 {
            seen.push(Sample::of(&agent)?);
        }
        if failures >= FAILURES {
            break;
        }
        ensure!(begun.elapsed() < Duration::from_mins(1), "{failures} failures: {}", agent.stderr());
        thread::sleep(Duration::from_millis(20));
    }
    let metrics = agent.metrics()?;
    let all: f64 =
        metrics.iter().filter(|(name, _)| name.starts_with("log_capturer_docker_errors_total")).map(|(_, n)| n).sum();
    ensure!(all - metrics[&name] < 0.5, "failures of another kind: {metrics:?}");
    assert_flat(&seen, slack)?;
    let stopped = Instant::now();
    agent.terminate()?;
    ensure!(stopped.elapsed() < Duration::from_secs(2), "the end took {:?}", stopped.elapsed());
    Ok(())
}

fn assert_flat(seen: &[Sample], slack: u64) -> Result<()> {
    let range = |of: fn(&Sample) -> u64| (seen.iter().map(of).min(), seen.iter().map(of).max());
    let grown = |of: fn(&Sample) -> u64| match range(of) {
        (Some(least), Some(most)) => most - least,
        _ => u64::MAX,
    };
    // Two connections come and go, and with each scrape one more.
    ensure!(grown(|sample| sample.files as u64) <= 3, "open files: {:?}", range(|sample| sample.files as u64));
    ensure!(grown(|sample| sample.threads as u64) == 0, "threads: {:?}", range(|sample| sample.threads as u64));
    ensure!(seen.iter().all(|sample| sample.connections <= 2.0), "connections: {seen:?}");
    ensure!(seen.iter().all(|sample| sample.tasks <= seen[0].tasks), "tasks: {seen:?}");
    ensure!(grown(|sample| sample.memory) <= slack, "resident bytes: {:?}", range(|sample| sample.memory));
    eprintln!("{} samples, files {:?}, resident {:?}", seen.len(), range(|s| s.files as u64), range(|s| s.memory));
    Ok(())
}
