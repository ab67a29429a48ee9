//! Whatever is wrong with a server, a sink comes back in time, says what it was, and keeps nothing open.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use capture_agent::config::units::Period;
use capture_agent::sinks::delivery::{Sink, SinkError};
use capture_agent::sinks::loki::{Loki, LokiConfig};
use capture_agent::socket::FailureKind;
use capture_tests::BlackHole;

use crate::ill::{self, Server, answer};
use crate::records::{Connected as _, Source, context};

/// What the sink may take for a connection, and for an answer.
const TIMEOUT: Duration = Duration::from_millis(600);
/// What it takes beyond that, on a loaded machine.
const SLACK: Duration = Duration::from_millis(900);

fn sink(url: &str) -> Result<Loki> {
    let mut config = LokiConfig::at(url.to_owned());
    (config.connect_timeout, config.timeout) = (Period(TIMEOUT), Period(TIMEOUT));
    Ok(config.build(context("ill"))?)
}

/// Gives one record, and what the sink answers within its time.
fn write(sink: &mut Loki) -> Result<Result<(), SinkError>> {
    let record = Source::new("web").line("hello");
    let begun = Instant::now();
    let outcome = sink.write(&[record]).map(drop);
    // A connection and an answer, each within its own time.
    ensure!(begun.elapsed() < 2 * TIMEOUT + SLACK, "after {:?}: {outcome:?}", begun.elapsed());
    Ok(outcome)
}

fn assert_retry(outcome: &Result<(), SinkError>, contains: &str) -> Result<Option<Duration>> {
    match outcome {
        Err(SinkError::Retry { cause, after }) if cause.contains(contains) => Ok(*after),
        other => anyhow::bail!("not to be tried again with “{contains}”: {other:?}"),
    }
}

#[test]
fn a_server_that_hangs_anywhere_costs_its_time_and_no_more() -> Result<()> {
    let cases: [(ill::Plain, &str, FailureKind); 6] = [
        (ill::mute, "gave no answer within 600ms", FailureKind::Timeout),
        (ill::half, "gave no answer within 600ms", FailureKind::Timeout),
        (ill::trickle, "gave no answer within 600ms", FailureKind::Timeout),
        (ill::reset, "broke", FailureKind::Closed),
        (ill::babble, "does not speak HTTP", FailureKind::Protocol),
        (ill::endless_head, "does not speak HTTP", FailureKind::Protocol),
    ];
    for (manner, cause, kind) in cases {
        let server = Server::with(manner)?;
        let mut sink = sink(&server.url())?;
        for _ in 0..2 {
            assert_retry(&write(&mut sink)?, cause).with_context(|| cause.to_owned())?;
        }
        let health = sink.health();
        ensure!(health.errors(kind) == 2, "{cause}: {} errors of kind {}", health.errors(kind), kind.as_str());
        ensure!(!health.up() && health.open_connections() == 0, "{cause}: still connected");
    }
    Ok(())
}

#[test]
fn nobody_there_is_said_at_once_and_a_black_hole_in_time() -> Result<()> {
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.local_addr()?
    };
    assert_retry(&write(&mut sink(&format!("http://{nobody}"))?)?, "cannot be reached: Connection refused")?;
    let hole = BlackHole::new()?;
    assert_retry(&write(&mut sink(&format!("http://{}", hole.address()))?)?, "cannot be reached: no")?;
    let unknown = write(&mut sink("http://nowhere.invalid:3100")?)?;
    assert_retry(&unknown, "http://nowhere.invalid:3100 cannot be reached")?;
    Ok(())
}

#[test]
fn an_answer_that_does_not_end_is_read_for_a_while_and_its_status_counts() -> Result<()> {
    let server = Server::with(ill::endless)?;
    let mut sink = sink(&server.url())?;
    for _ in 0..3 {
        ensure!(write(&mut sink)?.is_ok());
    }
    ensure!(sink.health().open_connections() == 0 && server.connections() == 3, "the connection is kept");
    Ok(())
}

#[test]
fn the_server_says_when_to_come_back() -> Result<()> {
    let server = Server::that_says(&[
        &answer("429 Too Many Requests", &[("Retry-After", "7")], "slow down"),
        &answer("503 Service Unavailable", &[("Retry-After", "Fri, 31 Dec 1999 23:59:59 GMT")], ""),
        &answer("503 Service Unavailable", &[], "Ingester not ready"),
        &answer("429 Too Many Requests", &[("Retry-After", "999999999")], ""),
        &answer("200 OK", &[], ""),
    ])?;
    let mut sink = sink(&server.url())?;
    let after = |outcome: &Result<(), SinkError>, cause: &str| assert_retry(outcome, cause);
    ensure!(after(&write(&mut sink)?, "429 Too Many Requests: slow down")? == Some(Duration::from_secs(7)));
    ensure!(after(&write(&mut sink)?, "503")? == Some(Duration::ZERO), "a date that has passed");
    ensure!(after(&write(&mut sink)?, "503 Service Unavailable: Ingester not ready")?.is_none());
    // A server that is mistaken does not stop the agent for years.
    ensure!(after(&write(&mut sink)?, "429")? == Some(Duration::from_hours(1)));
    ensure!(write(&mut sink)?.is_ok());
    ensure!(server.connections() == 1, "{} connections for five requests", server.connections());
    Ok(())
}

#[test]
fn what_will_never_be_taken_is_refused_with_a_reason() -> Result<()> {
    for (status, reason) in [
        ("400 Bad Request", "bad_request"),
        ("401 Unauthorized", "unauthorized"),
        ("403 Forbidden", "unauthorized"),
        ("404 Not Found", "not_found"),
        ("413 Payload Too Large", "too_large"),
        ("260 Blocked", "blocked"),
    ] {
        let server = Server::that_says(&[&answer(status, &[], "because")])?;
        let outcome = write(&mut sink(&server.url())?)?;
        let is_expected = matches!(&outcome, Err(SinkError::Refused { cause, reason: why })
            if *why == reason && cause.contains("because"));
        ensure!(is_expected, "{status}: {outcome:?}");
    }
    Ok(())
}

#[test]
fn a_connection_that_was_closed_while_idle_is_no_failure() -> Result<()> {
    // Keeps each connection for one request, and does not say so.
    let server = Server::with(|mut client| {
        ill::request(&mut client)?;
        std::io::Write::write_all(&mut client, answer("200 OK", &[], "").as_bytes())
    })?;
    let mut sink = sink(&server.url())?;
    for _ in 0..5 {
        ensure!(write(&mut sink)?.is_ok());
    }
    ensure!(sink.health().errors(FailureKind::Closed) == 0 && server.connections() == 5);
    Ok(())
}

#[test]
fn descriptors_do_not_grow_with_failures() -> Result<()> {
    let count = || std::fs::read_dir("/proc/self/fd").map(Iterator::count);
    let server = Server::with(ill::reset)?;
    let mut sink = sink(&server.url())?;
    write(&mut sink)?.unwrap_err();
    let before = count()?;
    for _ in 0..50 {
        write(&mut sink)?.unwrap_err();
    }
    // The server's threads are in this process too, and may hold a connection for a moment longer.
    capture_tests::poll::eventually("as few descriptors as before", capture_tests::poll::DEADLINE, || {
        count().is_ok_and(|count| count <= before + 1).then_some(())
    })
}
