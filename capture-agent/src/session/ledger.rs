//! The accounts of every container, for metrics and reconciliation.
//!
//! The reader thread writes totals here now and then (not per record); a scrape reads them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use capture_common::{LOST_REASONS, Stream};

/// How long the totals of a container that is gone are kept.
pub const GRACE: Duration = Duration::from_mins(5);

/// Totals of one stream since the agent (or the container, if later) started. Bytes include newlines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamTotals {
    /// Bytes that the container's calls returned as written.
    pub written: u64,
    /// Bytes that the kernel side put into the ring buffer.
    pub submitted: u64,
    /// Bytes that it did not, by `LostReason`.
    pub lost: [u64; LOST_REASONS],
    /// Records that the sinks took: lines, or parts of lines that are too long.
    pub lines: u64,
    /// Bytes of the records that the sinks took.
    pub delivered: u64,
    /// Bytes of the records that a sink's full queue refused.
    pub dropped: u64,
}

/// Totals of one container.
#[derive(Clone, Debug)]
pub struct ContainerTotals {
    /// 64 hexadecimal digits.
    pub id: Arc<str>,
    /// Empty until the engine told it.
    pub name: Arc<str>,
    /// By [`Stream`].
    pub streams: [StreamTotals; 2],
    /// When the container ended, if it has.
    pub ended: Option<Instant>,
}

impl ContainerTotals {
    /// Totals of one stream.
    #[must_use]
    pub fn stream(&self, stream: Stream) -> &StreamTotals {
        &self.streams[stream as usize]
    }
}

/// Totals that belong to the whole agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentTotals {
    /// Containers whose output is being captured now.
    pub active_sessions: u64,
    /// Containers that may be captured at once.
    pub capacity: u64,
    /// Containers that found no free slot.
    pub refused: u64,
    /// Size of the ring buffer in bytes.
    pub ring_size: u64,
    /// Bytes of it that wait to be read.
    pub ring_used: u64,
    /// Runs of the programs that the kernel skipped (`recursion_misses` of `bpf_prog_info`); each may hide one call.
    pub missed_runs: u64,
}

/// Shared by the reader thread, which writes it, and the metrics, which read it.
#[derive(Debug, Default)]
pub struct Ledger {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    agent: AgentTotals,
    containers: HashMap<Arc<str>, ContainerTotals>,
}

impl Ledger {
    /// Replaces the totals of one container.
    pub fn set(&self, totals: ContainerTotals) {
        self.lock().containers.insert(Arc::clone(&totals.id), totals);
    }

    /// Totals of one container, if it is known here.
    pub fn get(&self, id: &str) -> Option<ContainerTotals> {
        self.lock().containers.get(id).cloned()
    }

    /// Replaces the agent's own totals.
    pub fn set_agent(&self, agent: AgentTotals) {
        self.lock().agent = agent;
    }

    /// Drops containers that ended more than [`GRACE`] before `now`.
    pub fn expire(&self, now: Instant) {
        self.lock()
            .containers
            .retain(|_, totals| totals.ended.is_none_or(|ended| now.saturating_duration_since(ended) < GRACE));
    }

    /// A copy of everything, for one scrape.
    #[must_use]
    pub fn snapshot(&self) -> (AgentTotals, Vec<ContainerTotals>) {
        let inner = self.lock();
        (inner.agent, inner.containers.values().cloned().collect())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
