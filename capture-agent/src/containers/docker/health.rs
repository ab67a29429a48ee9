//! How the Docker socket fares: written by the client, read on a scrape.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bollard::errors::Error;

use crate::histogram::{Distribution, Histogram};

/// Upper bounds of [`SocketHealth::requests`], in seconds. The last is past the default deadline.
const LATENCY_BUCKETS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 2.5, 6.0];

/// What went wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// There is no such socket.
    Missing,
    /// Nobody listens on the socket.
    Refused,
    /// The agent may not use the socket.
    Denied,
    /// No answer within the deadline.
    Timeout,
    /// The engine closed the connection before its answer was complete.
    Closed,
    /// The answer is not what a Docker engine says.
    Protocol,
    /// The engine answered with an HTTP error.
    Status,
    /// Any other failure of the socket.
    Io,
}

impl FailureKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Missing,
        Self::Refused,
        Self::Denied,
        Self::Timeout,
        Self::Closed,
        Self::Protocol,
        Self::Status,
        Self::Io,
    ];

    /// Value of the `kind` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Refused => "refused",
            Self::Denied => "denied",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Protocol => "protocol",
            Self::Status => "status",
            Self::Io => "io",
        }
    }

    fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::PermissionDenied => Self::Denied,
            io::ErrorKind::TimedOut => Self::Timeout,
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io,
        }
    }
}

/// A call that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    /// The engine's HTTP status, if it gave one.
    pub(super) status: Option<u16>,
    message: String,
}

impl Failure {
    pub(super) fn timeout(deadline: Duration) -> Self {
        Self { kind: FailureKind::Timeout, status: None, message: format!("no answer within {deadline:?}") }
    }

    pub(super) fn closed() -> Self {
        let message = "the engine closed the event stream".to_owned();
        Self { kind: FailureKind::Closed, status: None, message }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut status = None;
        let kind = match &error {
            Error::IOError { err } => FailureKind::of_io(err),
            Error::DockerResponseServerError { status_code, .. } => {
                status = Some(*status_code);
                FailureKind::Status
            }
            Error::RequestTimeoutError => FailureKind::Timeout,
            Error::HyperResponseError { err } if err.is_parse() => FailureKind::Protocol,
            Error::HyperResponseError { .. } => FailureKind::Closed,
            _ => FailureKind::Protocol,
        };
        Self { kind, status, message: error.to_string() }
    }
}

/// State of the connections to the engine.
#[derive(Debug)]
pub struct SocketHealth {
    /// Instants are kept as nanoseconds since this one, to fit an atomic.
    created: Instant,
    up: AtomicBool,
    durations: Histogram<{ LATENCY_BUCKETS.len() }>,
    last_ns: AtomicU64,
    errors: [AtomicU64; FailureKind::ALL.len()],
    reconnects: AtomicU64,
    open_connections: AtomicU64,
    /// Nanoseconds since `created`; 0 where there is no stream.
    events_opened: AtomicU64,
}

impl Default for SocketHealth {
    fn default() -> Self {
        Self {
            created: Instant::now(),
            up: AtomicBool::default(),
            durations: Histogram::new(&LATENCY_BUCKETS),
            last_ns: AtomicU64::default(),
            errors: Default::default(),
            reconnects: AtomicU64::default(),
            open_connections: AtomicU64::default(),
            events_opened: AtomicU64::default(),
        }
    }
}

impl SocketHealth {
    /// Whether the engine answers: events are subscribed and the containers were listed.
    pub fn up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Requests so far, by duration. Failed ones count with the time they took.
    pub fn requests(&self) -> Distribution {
        self.durations.read()
    }

    /// How long the last request took.
    pub fn last_latency(&self) -> Duration {
        Duration::from_nanos(self.last_ns.load(Ordering::Relaxed))
    }

    /// Failed calls and broken event streams of one kind.
    pub fn errors(&self, kind: FailureKind) -> u64 {
        self.errors[kind as usize].load(Ordering::Relaxed)
    }

    /// Times that the engine answered again after it had not.
    pub fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }

    /// Connections open now: at most one for events and one for everything else.
    pub fn open_connections(&self) -> u64 {
        self.open_connections.load(Ordering::Relaxed)
    }

    /// Age of the event subscription, if there is one.
    pub fn event_stream_age(&self) -> Option<Duration> {
        match self.events_opened.load(Ordering::Relaxed) {
            0 => None,
            opened => Some(self.created.elapsed().saturating_sub(Duration::from_nanos(opened))),
        }
    }

    pub(super) fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::Relaxed);
    }

    pub(super) fn observe(&self, duration: Duration) {
        self.durations.observe(duration);
        self.last_ns.store(duration.as_nanos() as u64, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, kind: FailureKind) {
        self.errors[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn reconnected(&self) {
        self.reconnects.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn connection_opened(&self) {
        self.open_connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn connection_closed(&self) {
        self.open_connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn events_opened(&self) {
        self.events_opened.store((self.created.elapsed().as_nanos() as u64).max(1), Ordering::Relaxed);
    }

    pub(super) fn events_closed(&self) {
        self.events_opened.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_stands_at_its_own_number() {
        for (index, kind) in FailureKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
    }

    #[test]
    fn a_missing_socket_is_told_apart_from_one_where_nobody_listens() {
        let kind = |kind: io::ErrorKind| Failure::from(Error::IOError { err: kind.into() }).kind;
        assert_eq!(kind(io::ErrorKind::NotFound), FailureKind::Missing);
        assert_eq!(kind(io::ErrorKind::ConnectionRefused), FailureKind::Refused);
        assert_eq!(kind(io::ErrorKind::PermissionDenied), FailureKind::Denied);
        assert_eq!(kind(io::ErrorKind::BrokenPipe), FailureKind::Closed);
    }
}
