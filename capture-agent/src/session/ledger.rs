//! The accounts of every container, for metrics and reconciliation.
//!
//! Nothing is done for a record but what the kernel side and the sinks count anyway; a scrape reads both.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::totals::{AgentTotals, ContainerTotals, KernelTotals, SessionError, StreamTotals};
use crate::histogram::Histogram;
use crate::kernel::RingUse;
use crate::pipeline::record::Account;

/// Containers that are gone and whose totals are kept at most; beyond, the one that has been gone longest gives way.
/// With the capacity of the slot table it bounds the number of series.
pub const MAX_GONE: usize = 1024;

/// Bounds of the histogram of session ages, in seconds: rotation intervals that people use, and a second beyond each.
const AGE_BOUNDS: [f64; 12] = [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 31.0, 60.0, 61.0, 300.0, 600.0, 3600.0];
/// Bounds of the histogram of latencies, in seconds.
const LATENCY_BOUNDS: [f64; 14] =
    [50e-6, 100e-6, 250e-6, 500e-6, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Shared by the reader thread, which writes it, and the metrics, which read it.
pub struct Ledger {
    inner: Mutex<Inner>,
    grace: Duration,
    /// Ages of sessions when they were sealed.
    pub ages: Histogram<{ AGE_BOUNDS.len() }>,
    /// From the write in the kernel to the hand-over to the sink.
    pub latencies: Histogram<{ LATENCY_BOUNDS.len() }>,
    reconcile_failures: AtomicU64,
    /// When the reader last wrote its totals, in ms since `created`.
    beat: AtomicU64,
    created: Instant,
    /// State files that could not be written or read.
    pub state_errors: AtomicU64,
    /// What the kernel side has counted for a slot by now.
    kernel: OnceLock<Box<KernelCounters>>,
    /// Bytes that wait in the ring buffer.
    ring: OnceLock<Arc<RingUse>>,
    /// Runs that the kernel has skipped by now.
    missed_runs: OnceLock<Box<MissedRuns>>,
}

type MissedRuns = dyn Fn() -> u64 + Send + Sync;
type KernelCounters = dyn Fn(u32) -> [KernelTotals; 2] + Send + Sync;

#[derive(Debug, Default)]
struct Inner {
    agent: AgentTotals,
    waiting: u64,
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
    rotations: u64,
    errors: [u64; SessionError::ALL.len()],
    /// When the session that goes on was opened: at the first sight of the container, or at the last seal.
    session_opened: Instant,
    ended: Option<Instant>,
}

impl Ledger {
    /// An empty ledger that keeps the totals of a container for `grace` after its end.
    #[must_use]
    pub fn new(grace: Duration) -> Self {
        Self {
            inner: Mutex::default(),
            grace,
            ages: Histogram::new(&AGE_BOUNDS),
            latencies: Histogram::new(&LATENCY_BOUNDS),
            reconcile_failures: AtomicU64::new(0),
            beat: AtomicU64::new(0),
            created: Instant::now(),
            state_errors: AtomicU64::new(0),
            kernel: OnceLock::new(),
            ring: OnceLock::new(),
            missed_runs: OnceLock::new(),
        }
    }

    /// How long the totals of a container that is gone are kept.
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// Whether there are totals of a container.
    #[must_use]
    pub fn knows(&self, id: &str) -> bool {
        self.lock().containers.contains_key(id)
    }

    /// Reads the counters of running sessions with `kernel`, by slot. For the reader, once it has the slot table.
    pub fn read_kernel_with(&self, kernel: impl Fn(u32) -> [KernelTotals; 2] + Send + Sync + 'static) {
        let _ = self.kernel.set(Box::new(kernel));
    }

    /// Reads the ring buffer's use with `ring`. For the reader, once it has the ring buffer.
    pub fn read_ring_with(&self, ring: Arc<RingUse>) {
        let _ = self.ring.set(ring);
    }

    /// Asks for the runs that the kernel skipped with `missed_runs`: when somebody wants to know, and not on the reader's
    /// time. For the reader, once it has the ring buffer.
    pub fn read_missed_runs_with(&self, missed_runs: impl Fn() -> u64 + Send + Sync + 'static) {
        let _ = self.missed_runs.set(Box::new(missed_runs));
    }

    /// Opens a session of a container on a slot; its deliveries are to be counted in the account.
    pub fn open(&self, id: &Arc<str>, slot: u32) -> Arc<Account> {
        let mut inner = self.lock();
        let entry = inner.containers.entry(Arc::clone(id)).or_default();
        entry.ended = None;
        entry.session_opened = Instant::now();
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

    /// Replaces the agent's own totals; what a [`snapshot`](Self::snapshot) counts itself is left out.
    pub fn set_agent(&self, agent: AgentTotals) {
        self.lock().agent = agent;
        self.beat.store(self.created.elapsed().as_millis() as u64, Relaxed);
    }

    /// How long ago the reader last wrote its totals, which it does once a second at least.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.created.elapsed().saturating_sub(Duration::from_millis(self.beat.load(Relaxed)))
    }

    /// Counts a session that was sealed on its interval.
    pub fn rotated(&self, id: &str) {
        if let Some(entry) = self.lock().containers.get_mut(id) {
            entry.rotations += 1;
            entry.session_opened = Instant::now();
        }
    }

    /// Counts what went wrong with a container's session.
    pub fn failed(&self, id: &str, error: SessionError) {
        if let Some(entry) = self.lock().containers.get_mut(id) {
            entry.errors[error as usize] += 1;
        }
        if error == SessionError::Reconcile {
            self.reconcile_failures.fetch_add(1, Relaxed);
        }
    }

    /// Sessions that did not reconcile, of all containers that there ever were.
    #[must_use]
    pub fn reconcile_failures(&self) -> u64 {
        self.reconcile_failures.load(Relaxed)
    }

    /// Counts a container that is not captured, because no slot is free.
    pub fn refuse(&self, id: &str, now: Instant) {
        let mut inner = self.lock();
        let entry = inner.containers.entry(id.into()).or_default();
        entry.errors[SessionError::Refused as usize] += 1;
        if entry.current.is_empty() {
            entry.ended = Some(now);
        }
    }

    /// Sets how many running containers wait for a slot.
    pub fn set_waiting(&self, waiting: u64) {
        self.lock().waiting = waiting;
    }

    /// Drops containers that ended longer than the grace before `now`, and gives their ids.
    pub fn expire(&self, now: Instant) -> Vec<Arc<str>> {
        let mut inner = self.lock();
        let mut gone: Vec<_> = inner
            .containers
            .iter()
            .filter_map(|(id, entry)| Some((now.saturating_duration_since(entry.ended?), Arc::clone(id))))
            .collect();
        gone.sort_unstable_by(|a, b| b.cmp(a));
        let surplus = gone.len().saturating_sub(MAX_GONE);
        let mut expired = Vec::new();
        for (index, (age, id)) in gone.into_iter().enumerate() {
            if index < surplus || age >= self.grace {
                inner.containers.remove(&id);
                expired.push(id);
            }
        }
        expired
    }

    /// A copy of everything, for one scrape.
    #[must_use]
    pub fn snapshot(&self) -> (AgentTotals, Vec<ContainerTotals>) {
        let missed_runs = self.missed_runs.get().map(|missed_runs| missed_runs());
        let inner = self.lock();
        let missed_runs = missed_runs.unwrap_or(inner.agent.missed_runs);
        // Counted here and not by the reader, so that it agrees with the containers of the same scrape.
        let active_sessions = inner.containers.values().map(|entry| entry.current.len() as u64).sum();
        let ring_used = self.ring.get().map_or(0, |ring| ring.bytes());
        let agent = AgentTotals { active_sessions, waiting: inner.waiting, ring_used, missed_runs, ..inner.agent };
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

impl Default for Entry {
    fn default() -> Self {
        Self {
            name: "".into(),
            account: Arc::default(),
            past: Default::default(),
            current: Vec::new(),
            rotations: 0,
            errors: Default::default(),
            session_opened: Instant::now(),
            ended: None,
        }
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
            total.filtered = account.filtered.load(Relaxed);
            total.dropped = std::array::from_fn(|kind| account.dropped[kind].load(Relaxed));
            for session in &current {
                session[stream].add_to(total);
            }
        }
        ContainerTotals {
            id,
            name: Arc::clone(&self.name),
            streams,
            by_sink: self.account.by_sink(),
            rotations: self.rotations,
            errors: self.errors,
            session_opened: self.session_opened,
            ended: self.ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_mins(5);

    fn kernel(written: u64) -> [KernelTotals; 2] {
        [KernelTotals { written, submitted: written - 1, lost: [1, 0, 0, 0] }, KernelTotals::default()]
    }

    #[test]
    fn totals_go_on_over_the_sessions_of_a_container() {
        let (ledger, id, now) = (Ledger::new(GRACE), Arc::from("a"), Instant::now());
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
        assert!(ledger.expire(now + GRACE / 2).is_empty());
        assert_eq!(ledger.snapshot().1[0].streams[0].written, 17);
        assert_eq!(ledger.expire(now + GRACE), [id]);
        assert!(ledger.snapshot().1.is_empty());
    }

    #[test]
    fn containers_that_are_gone_are_kept_up_to_a_number() {
        let (ledger, start) = (Ledger::new(GRACE), Instant::now());
        ledger.open(&Arc::from("running"), 7);
        for number in 0..MAX_GONE as u64 + 3 {
            let id = Arc::from(format!("{number}"));
            ledger.open(&id, 1);
            ledger.close(&id, 1, kernel(5), start + Duration::from_millis(number));
        }
        let mut expired = ledger.expire(start + Duration::from_secs(9));
        expired.sort_unstable();
        assert_eq!(expired.iter().map(AsRef::as_ref).collect::<Vec<_>>(), ["0", "1", "2"], "the oldest");
        assert_eq!(ledger.snapshot().1.len(), MAX_GONE + 1);
    }

    #[test]
    fn a_refused_container_is_told_for_as_long_as_one_that_is_gone() {
        let (ledger, now) = (Ledger::new(GRACE), Instant::now());
        ledger.refuse("a", now);
        assert_eq!(ledger.snapshot().1[0].errors, [0, 0, 0, 1]);
        ledger.open(&Arc::from("a"), 3);
        assert!(ledger.expire(now + GRACE).is_empty(), "it was taken in");
    }
}
