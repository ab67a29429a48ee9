//! The accounts of every container, for metrics and reconciliation.
//!
//! Nothing is done for a record but what the kernel side and the sinks count anyway; a scrape reads both.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use capture_common::{LOST_REASONS, Stream};

use crate::pipeline::record::Account;

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

/// What the kernel side has counted of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelTotals {
    /// See [`StreamTotals::written`].
    pub written: u64,
    /// See [`StreamTotals::submitted`].
    pub submitted: u64,
    /// See [`StreamTotals::lost`].
    pub lost: [u64; LOST_REASONS],
}

impl KernelTotals {
    fn add_to(self, total: &mut StreamTotals) {
        total.written += self.written;
        total.submitted += self.submitted;
        for (sum, lost) in total.lost.iter_mut().zip(self.lost) {
            *sum += lost;
        }
    }
}

/// Shared by the reader thread, which writes it, and the metrics, which read it.
#[derive(Default)]
pub struct Ledger {
    inner: Mutex<Inner>,
    /// What the kernel side has counted for a slot by now.
    kernel: OnceLock<Box<KernelCounters>>,
}

type KernelCounters = dyn Fn(u32) -> [KernelTotals; 2] + Send + Sync;

#[derive(Debug, Default)]
struct Inner {
    agent: AgentTotals,
    containers: HashMap<Arc<str>, Entry>,
}

/// One container, over all its sessions: it may restart, and the next session may begin before the sinks have taken the
/// last record of the one before.
#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    account: Arc<Account>,
    /// Sums of the sessions that have ended.
    past: [StreamTotals; 2],
    /// Slots of the sessions that go on.
    current: Vec<u32>,
    ended: Option<Instant>,
}

impl Ledger {
    /// Reads the counters of running sessions with `kernel`, by slot. For the reader, once it has the slot table.
    pub fn read_kernel_with(&self, kernel: impl Fn(u32) -> [KernelTotals; 2] + Send + Sync + 'static) {
        let _ = self.kernel.set(Box::new(kernel));
    }

    /// Opens a session of a container on a slot; its deliveries are to be counted in the account.
    pub fn open(&self, id: &Arc<str>, slot: u32) -> Arc<Account> {
        let mut inner = self.lock();
        let entry = inner.containers.entry(Arc::clone(id)).or_insert_with(|| Entry {
            name: "".into(),
            account: Arc::default(),
            past: Default::default(),
            current: Vec::new(),
            ended: None,
        });
        entry.ended = None;
        entry.current.push(slot);
        Arc::clone(&entry.account)
    }

    /// Ends a session with what the kernel side has counted at last.
    pub fn close(&self, id: &str, slot: u32, kernel: [KernelTotals; 2], now: Instant) {
        if let Some(entry) = self.lock().containers.get_mut(id) {
            entry.current.retain(|of| *of != slot);
            for (past, kernel) in entry.past.iter_mut().zip(kernel) {
                kernel.add_to(past);
            }
            entry.ended = entry.current.is_empty().then_some(now);
        }
    }

    /// Sets a container's name.
    pub fn rename(&self, id: &str, name: &str) {
        if let Some(entry) = self.lock().containers.get_mut(id) {
            entry.name = name.into();
        }
    }

    /// Replaces the agent's own totals; [`AgentTotals::active_sessions`] is counted by [`snapshot`](Self::snapshot).
    pub fn set_agent(&self, agent: AgentTotals) {
        self.lock().agent = agent;
    }

    /// Drops containers that ended more than [`GRACE`] before `now`.
    pub fn expire(&self, now: Instant) {
        self.lock()
            .containers
            .retain(|_, entry| entry.ended.is_none_or(|ended| now.saturating_duration_since(ended) < GRACE));
    }

    /// A copy of everything, for one scrape.
    #[must_use]
    pub fn snapshot(&self) -> (AgentTotals, Vec<ContainerTotals>) {
        let inner = self.lock();
        // Counted here and not by the reader, so that it agrees with the containers of the same scrape.
        let active_sessions = inner.containers.values().map(|entry| entry.current.len() as u64).sum();
        let agent = AgentTotals { active_sessions, ..inner.agent };
        (
            agent,
            inner
                .containers
                .iter()
                .map(|(id, entry)| entry.totals(Arc::clone(id), self.kernel.get().map(AsRef::as_ref)))
                .collect(),
        )
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn totals(&self, id: Arc<str>, kernel: Option<&KernelCounters>) -> ContainerTotals {
        let mut streams = self.past;
        let current: Vec<_> =
            kernel.map(|read| self.current.iter().map(|slot| read(*slot)).collect()).unwrap_or_default();
        for (stream, total) in streams.iter_mut().enumerate() {
            let account = &self.account.streams[stream];
            total.lines = account.lines.load(Relaxed);
            total.delivered = account.delivered.load(Relaxed);
            total.dropped = account.dropped.load(Relaxed);
            for session in &current {
                session[stream].add_to(total);
            }
        }
        ContainerTotals { id, name: Arc::clone(&self.name), streams, ended: self.ended }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(written: u64) -> [KernelTotals; 2] {
        [KernelTotals { written, submitted: written - 1, lost: [1, 0, 0, 0] }, KernelTotals::default()]
    }

    #[test]
    fn totals_go_on_over_the_sessions_of_a_container() {
        let (ledger, id, now) = (Ledger::default(), Arc::from("a"), Instant::now());
        ledger.read_kernel_with(|_| kernel(5));
        let account = ledger.open(&id, 1);
        // Restarted before the sinks have taken the last line.
        let again = ledger.open(&id, 2);
        ledger.close(&id, 1, kernel(12), now);
        account.streams[0].delivered.fetch_add(11, Relaxed);
        again.streams[0].delivered.fetch_add(4, Relaxed);
        let (_, containers) = ledger.snapshot();
        let total = containers[0].streams[0];
        assert_eq!((total.written, total.submitted, total.lost[0], total.delivered), (17, 15, 2, 15));
        assert_eq!(containers[0].ended, None);
        ledger.close(&id, 2, kernel(5), now);
        ledger.expire(now + GRACE / 2);
        assert_eq!(ledger.snapshot().1[0].streams[0].written, 17);
        ledger.expire(now + GRACE);
        assert!(ledger.snapshot().1.is_empty());
    }
}
