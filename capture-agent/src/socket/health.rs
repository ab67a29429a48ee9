//! How the sockets to one peer fare: written by the client, read on a scrape.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::failure::FailureKind;
use crate::histogram::{Distribution, Histogram};

/// Upper bounds of [`SocketHealth::requests`], in seconds. The last is past the engine's default deadline.
const LATENCY_BUCKETS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 2.5, 6.0];

/// State of the connections to one peer: the engine, or where a sink sends.
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
    /// Nanoseconds since `created`; 0 where nothing is open.
    opened: AtomicU64,
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
            opened: AtomicU64::default(),
        }
    }
}

impl SocketHealth {
    /// Whether the peer answers. The engine does once events are subscribed and the containers were listed.
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

    /// Failed requests and broken streams of one kind.
    pub fn errors(&self, kind: FailureKind) -> u64 {
        self.errors[kind as usize].load(Ordering::Relaxed)
    }

    /// Times that the peer answered again after it had not.
    pub fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }

    /// Connections open now. To the engine, at most one for events and one for everything else.
    pub fn open_connections(&self) -> u64 {
        self.open_connections.load(Ordering::Relaxed)
    }

    /// Age of what is held open, if something is: the engine's event subscription, a sink's connection.
    pub fn age(&self) -> Option<Duration> {
        match self.opened.load(Ordering::Relaxed) {
            0 => None,
            opened => Some(self.created.elapsed().saturating_sub(Duration::from_nanos(opened))),
        }
    }

    pub(crate) fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::Relaxed);
    }

    pub(crate) fn observe(&self, duration: Duration) {
        self.durations.observe(duration);
        self.last_ns.store(duration.as_nanos() as u64, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, kind: FailureKind) {
        self.errors[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn reconnected(&self) {
        self.reconnects.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connection_opened(&self) {
        self.open_connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connection_closed(&self) {
        self.open_connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn opened(&self) {
        self.opened.store((self.created.elapsed().as_nanos() as u64).max(1), Ordering::Relaxed);
    }

    pub(crate) fn closed(&self) {
        self.opened.store(0, Ordering::Relaxed);
    }
}
