//! What is counted of one sink.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::fate::Sum;
use super::health::Health;
use crate::histogram::{Distribution, Histogram};
use crate::pipeline::record::DropKind;

/// Bounds of the histogram of requests, in seconds.
const REQUEST_BOUNDS: [f64; 12] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0];

/// Values of the `reason` label of a sink's dropped records, beside those that the sink itself tells.
pub mod reason {
    /// The queue in memory had no room.
    pub const QUEUE_FULL: &str = "queue_full";
    /// The disk buffer had no room.
    pub const BUFFER_FULL: &str = "buffer_full";
    /// The disk buffer held something else by the time it was read.
    pub const CORRUPT: &str = "corrupt";
    /// The destination would not take it.
    pub const REFUSED: &str = "refused";
    /// The sink panicked over it.
    pub const PANIC: &str = "panic";
    /// The destination failed for longer than `give_up_after`.
    pub const GAVE_UP: &str = "gave_up";
    /// The destination is gone for good.
    pub const CLOSED: &str = "closed";
    /// The agent ended before it could be delivered.
    pub const SHUTDOWN: &str = "shutdown";
    /// The sink was removed before it could be delivered.
    pub const REMOVED: &str = "removed";

    /// All of them: they have a series before the first record is dropped.
    pub const ALL: [&str; 9] = [QUEUE_FULL, BUFFER_FULL, CORRUPT, REFUSED, PANIC, GAVE_UP, CLOSED, SHUTDOWN, REMOVED];
}

/// Which kind of loss a sink's reason is in the accounts of a container.
pub(super) fn kind_of(reason: &str) -> DropKind {
    match reason {
        reason::QUEUE_FULL | reason::BUFFER_FULL => DropKind::QueueFull,
        reason::GAVE_UP | reason::CLOSED | reason::SHUTDOWN | reason::REMOVED | reason::CORRUPT => {
            DropKind::Undelivered
        }
        _ => DropKind::Refused,
    }
}

/// Lines and bytes, counted by whoever comes by.
#[derive(Debug, Default)]
pub(super) struct Count {
    lines: AtomicU64,
    bytes: AtomicU64,
}

impl Count {
    pub(super) fn add(&self, sum: Sum) {
        self.lines.fetch_add(sum.lines, Relaxed);
        self.bytes.fetch_add(sum.bytes, Relaxed);
    }

    fn read(&self) -> Totals {
        Totals { records: self.lines.load(Relaxed), bytes: self.bytes.load(Relaxed) }
    }
}

/// Shared by the threads of a sink, which write it, and the metrics, which read it. Outlives a sink that takes the place of
/// another of its name.
#[derive(Debug)]
pub(super) struct Counters {
    /// As configured.
    pub(super) name: Arc<str>,
    pub(super) submitted: Count,
    pub(super) filtered: Count,
    pub(super) recovered: Count,
    pub(super) delivered: Count,
    dropped: Mutex<BTreeMap<&'static str, Totals>>,
    pub(super) retries: AtomicU64,
    pub(super) requests: Histogram<{ REQUEST_BOUNDS.len() }>,
    pub(super) corrupt_frames: AtomicU64,
    pub(super) torn_bytes: AtomicU64,
    pub(super) write_errors: AtomicU64,
    pub(super) health: Mutex<Health>,
}

/// Records, without the marks of gaps, and their bytes of output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// Lines, or pieces of lines.
    pub records: u64,
    /// Bytes of containers' output, newlines included.
    pub bytes: u64,
}

impl Counters {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            submitted: Count::default(),
            filtered: Count::default(),
            recovered: Count::default(),
            delivered: Count::default(),
            dropped: Mutex::new(reason::ALL.into_iter().map(|reason| (reason, Totals::default())).collect()),
            retries: AtomicU64::new(0),
            requests: Histogram::new(&REQUEST_BOUNDS),
            corrupt_frames: AtomicU64::new(0),
            torn_bytes: AtomicU64::new(0),
            write_errors: AtomicU64::new(0),
            health: Mutex::default(),
        }
    }

    pub(super) fn drop_sum(&self, sum: Sum, reason: &'static str) {
        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        let totals = dropped.entry(reason).or_default();
        totals.records += sum.lines;
        totals.bytes += sum.bytes;
    }

    pub(super) fn observe_request(&self, duration: Duration) {
        self.requests.observe(duration);
    }

    pub(super) fn read(&self) -> SinkTotals {
        SinkTotals {
            submitted: self.submitted.read(),
            filtered: self.filtered.read(),
            recovered: self.recovered.read(),
            delivered: self.delivered.read(),
            dropped: self.dropped.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            retries: self.retries.load(Relaxed),
            corrupt_frames: self.corrupt_frames.load(Relaxed),
            torn_bytes: self.torn_bytes.load(Relaxed),
            write_errors: self.write_errors.load(Relaxed),
        }
    }

    pub(super) fn read_requests(&self) -> Distribution {
        self.requests.read()
    }
}

/// What was counted of a sink since it was added.
///
/// `submitted + recovered = filtered + delivered + Σ dropped`, and what waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SinkTotals {
    /// Handed to the fan-out.
    pub submitted: Totals,
    /// Not meant for this sink.
    pub filtered: Totals,
    /// Found in the disk buffer at the start; records only.
    pub recovered: Totals,
    /// Taken by the destination.
    pub delivered: Totals,
    /// Neither delivered nor to be delivered, by reason.
    pub dropped: BTreeMap<&'static str, Totals>,
    /// Requests that were made again.
    pub retries: u64,
    /// Frames of the disk buffer that were not as they had been written.
    pub corrupt_frames: u64,
    /// Bytes cut off the end of the disk buffer, where the agent was killed while it wrote.
    pub torn_bytes: u64,
    /// Writes to the disk buffer that failed.
    pub write_errors: u64,
}
