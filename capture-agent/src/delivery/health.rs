//! Whether a sink's destination answers.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// How long a destination fails before it is called down.
const DOWN_AFTER: Duration = Duration::from_secs(10);

/// How a destination is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It took the last request, or was not asked yet.
    #[default]
    Up,
    /// It has begun to fail.
    Degraded,
    /// It has failed for more than ten seconds, or is gone for good.
    Down,
}

/// State of a sink, and since when.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// When it began to fail, if it does.
    failing: Option<(Instant, SystemTime)>,
    closed: bool,
    /// When it last answered after it had failed.
    recovered: Option<SystemTime>,
    last_error: Option<(SystemTime, String)>,
}

/// What is told of a sink's health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HealthReport {
    /// How it is doing.
    pub state: State,
    /// Since when, in seconds since the Unix epoch; 0 for since the start.
    pub since: u64,
    /// What it said last when it failed; one sentence without secrets.
    pub last_error: Option<String>,
    /// When that was, in seconds since the Unix epoch.
    pub last_error_at: Option<u64>,
}

impl Health {
    /// A request was answered well. Whether it had failed before.
    pub(super) fn succeeded(&mut self) -> bool {
        let had_failed = self.failing.take().is_some();
        if had_failed {
            self.recovered = Some(SystemTime::now());
        }
        had_failed
    }

    /// A request failed. Whether it is the first one.
    pub(super) fn failed(&mut self, cause: &str) -> bool {
        let now = SystemTime::now();
        self.last_error = Some((now, cause.to_owned()));
        let is_first = self.failing.is_none();
        self.failing.get_or_insert((Instant::now(), now));
        is_first
    }

    /// The destination is gone for good.
    pub(super) fn closed(&mut self, cause: &str) {
        self.failed(cause);
        self.closed = true;
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    pub(super) fn report(&self) -> HealthReport {
        let state = match self.failing {
            None => State::Up,
            Some((since, _)) if self.closed || since.elapsed() > DOWN_AFTER => State::Down,
            Some(_) => State::Degraded,
        };
        let since = self.failing.map(|(_, since)| since).or(self.recovered);
        HealthReport {
            state,
            since: since.map_or(0, seconds),
            last_error: self.last_error.as_ref().map(|(_, cause)| cause.clone()),
            last_error_at: self.last_error.as_ref().map(|(at, _)| seconds(*at)),
        }
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
