//! Where the reader of the ring buffer hands batches to: one lane for each sink.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::DeliveryError;
use super::counters::reason;
use super::fate::{Fates, cost_of};
use super::lane::{Lane, Route};
use super::settings::{BatchLimits, Buffer, RetryPolicy};
use super::status::SinkStatus;
use super::taps::Taps;
use crate::pipeline::apart;
use crate::pipeline::record::Record;
use crate::priority::Wards;
use crate::sinks::delivery::Sink;

/// How long the reader waits for a full queue while the ring buffer has room for what comes meanwhile.
const PATIENCE: Duration = Duration::from_millis(500);

/// Which records a sink is to have; called by the reader's thread. Marks of gaps are asked for as well.
pub type Filter = Box<dyn FnMut(&Record) -> bool + Send>;

/// A sink and how records reach it.
pub struct SinkSpec {
    /// As configured: in log messages and labels. One of a kind.
    pub name: Arc<str>,
    /// The destination.
    pub sink: Box<dyn Sink>,
    /// `None` for all records.
    pub filter: Option<Filter>,
    /// How much it is given at a time.
    pub batch: BatchLimits,
    /// Where records wait for it.
    pub buffer: Buffer,
    /// When it is asked again.
    pub retry: RetryPolicy,
    /// Cancelled when the destination is gone for good: a closed pipe. From then on records for it are dropped.
    pub closed: Option<CancellationToken>,
}

impl SinkSpec {
    /// A sink on this machine that gets everything at once, through a queue in memory.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, sink: Box<dyn Sink>) -> Self {
        Self {
            name: name.into(),
            sink,
            filter: None,
            batch: BatchLimits::LOCAL,
            buffer: Buffer::MEMORY,
            retry: RetryPolicy::default(),
            closed: None,
        }
    }
}

/// What is to be different from the next batch on.
pub enum Change {
    /// One more sink.
    Add(SinkSpec),
    /// Another sink of the same name. Where the buffer is of the same kind (and on disk: in the same directory) the new
    /// one takes over what waits; otherwise the old one is drained beside it.
    Replace(SinkSpec),
    /// A sink is drained and gone.
    Remove(Arc<str>),
    /// Only the filter of a sink.
    Filter(Arc<str>, Option<Filter>),
}

/// The reader's end. Every sink has a queue and a thread of its own, so none delays another, nor the reader: what finds no
/// room is dropped for that sink, and counted.
///
/// With one sink, whose buffer is in memory, the reader may wait a moment for room, while the ring buffer has some. With
/// more than one nobody waits.
pub struct Fanout {
    inner: Arc<Inner>,
}

/// Changes sinks and tells of them, from any thread.
#[derive(Clone)]
pub struct Control {
    inner: Arc<Inner>,
}

struct Inner {
    lanes: Mutex<Vec<Lane>>,
    /// One change at a time.
    changing: Mutex<()>,
    /// Lanes that were removed and still have something to deliver.
    draining: Mutex<Vec<JoinHandle<()>>>,
    grace: Duration,
    taps: Arc<Taps>,
    wards: Wards,
}

impl Fanout {
    /// No sinks yet. Each has `grace` for what is left when it is removed or the agent ends.
    #[must_use]
    pub fn new(grace: Duration) -> Self {
        let inner = Inner {
            lanes: Mutex::default(),
            changing: Mutex::default(),
            draining: Mutex::default(),
            grace,
            taps: Arc::default(),
            wards: Wards::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Where one can look at records on their way.
    #[must_use]
    pub fn taps(&self) -> Arc<Taps> {
        Arc::clone(&self.inner.taps)
    }

    /// The threads that must not come late, those of its sinks among them.
    #[must_use]
    pub fn wards(&self) -> Wards {
        self.inner.wards.clone()
    }

    /// What changes its sinks.
    #[must_use]
    pub fn control(&self) -> Control {
        Control { inner: Arc::clone(&self.inner) }
    }

    /// Hands records to every sink that is to have them. Where the queue of the only sink is full, waits a moment while
    /// `may_wait` says so; then records of containers that hold much of it are dropped, and counted.
    ///
    /// A sink that would be done with it in no time may be left asleep until there is more for it, or until a [pause](Self::pause).
    pub fn deliver(&self, records: Vec<Record>, may_wait: impl Fn() -> bool) {
        if records.is_empty() {
            return;
        }
        if let Some(queue) = self.inner.sole_queue() {
            queue.wait_for_room(cost_of(&records), PATIENCE, may_wait);
        }
        let mut lanes = self.inner.lanes();
        // One that wants single lines makes them single for all: what became of a record is counted once.
        let records = if lanes.iter().all(|lane| lane.takes_lines_together) { records } else { apart(records) };
        let fates = Arc::new(Fates::of(&records));
        let records = Arc::new(records);
        self.inner.taps.offer(&records, fates.sum.lines, fates.cost);
        // Which records nobody was to have; of interest only where everybody is choosy.
        let choosy = lanes.iter().all(|lane| lane.filter.is_some());
        let mut unwanted = vec![true; if choosy { records.len() } else { 0 }];
        for lane in lanes.iter_mut() {
            match lane.offer(&records, &fates) {
                None => unwanted.clear(),
                Some(picked) if !unwanted.is_empty() => {
                    for place in picked {
                        unwanted[place as usize] = false;
                    }
                }
                Some(_) => {}
            }
        }
        drop(lanes);
        for (place, record) in records.iter().enumerate().filter(|(place, _)| unwanted.get(*place) == Some(&true)) {
            fates.filtered(place, record);
        }
    }

    /// To be called before one sleeps who has handed over records: sinks take them. Where it is `for_a_moment`, 2 ms at most, those that have
    /// just got so much that more is sure to come may sleep on as well.
    pub fn pause(&self, for_a_moment: bool) {
        self.inner.lanes().iter().for_each(|lane| lane.route.pause(for_a_moment));
    }

    /// Waits until the sinks have what was handed over, all at once and at most for the grace; says of each what it could
    /// not take.
    pub fn finish(&self) {
        let deadline = Instant::now() + self.inner.grace;
        let routes: Vec<_> = self.inner.lanes().iter().map(|lane| Arc::clone(&lane.route)).collect();
        for route in &routes {
            route.close();
        }
        for route in routes {
            route.wait(deadline, reason::SHUTDOWN).tell(&route.counters.name, self.inner.grace);
        }
        for thread in std::mem::take(&mut *self.inner.draining()) {
            let _ = thread.join();
        }
    }
}

impl Control {
    /// Makes changes, all of them between two batches: a record sees either none or all of them.
    ///
    /// # Errors
    ///
    /// Nothing is changed: a thread or a disk buffer could not be had, or a name is there twice or not at all.
    pub fn apply(&self, changes: Vec<Change>) -> Result<(), DeliveryError> {
        let _one_at_a_time = self.inner.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ready = Vec::new();
        for change in changes {
            match self.prepare(change, &ready) {
                Ok(step) => ready.push(step),
                Err(error) => {
                    // Nothing was handed to them.
                    for step in ready {
                        if let Step::Add(lane) | Step::Exchange(lane) = step {
                            lane.route.close();
                            lane.route.wait(Instant::now(), reason::REMOVED);
                        }
                    }
                    return Err(error);
                }
            }
        }
        let mut removed = Vec::new();
        let mut lanes = self.inner.lanes();
        for step in ready {
            step.take(&mut lanes, &mut removed);
        }
        drop(lanes);
        for lane in removed {
            self.inner.drain(lane.route);
        }
        Ok(())
    }

    /// Adds a sink.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply).
    pub fn add(&self, spec: SinkSpec) -> Result<(), DeliveryError> {
        self.apply(vec![Change::Add(spec)])
    }

    /// Has every sink open its files anew.
    pub fn reopen(&self) {
        self.inner.lanes().iter().for_each(|lane| lane.route.reopen());
    }

    /// The names of the sinks, in their order.
    #[must_use]
    pub fn names(&self) -> Vec<Arc<str>> {
        let mut names: Vec<_> = self.inner.lanes().iter().map(|lane| Arc::clone(lane.name())).collect();
        names.sort();
        names
    }

    /// Every sink as it stands, in the order of their names.
    #[must_use]
    pub fn status(&self) -> Vec<SinkStatus> {
        let mut status: Vec<_> = self.inner.lanes().iter().map(|lane| lane.route.status()).collect();
        status.sort_by(|a, b| a.name.cmp(&b.name));
        status
    }

    fn prepare(&self, change: Change, ready: &[Step]) -> Result<Step, DeliveryError> {
        let lanes = self.inner.lanes();
        let find = |name: &str| lanes.iter().find(|lane| **lane.name() == *name);
        let is_removed = |name: &str| ready.iter().any(|step| matches!(step, Step::Remove(gone) if **gone == *name));
        let is_added = |name: &str| ready.iter().any(|step| matches!(step, Step::Add(lane) if **lane.name() == *name));
        let unknown = |name: &str| DeliveryError::Unknown { sink: name.to_owned() };
        match change {
            Change::Add(spec) => {
                if is_added(&spec.name) || (find(&spec.name).is_some() && !is_removed(&spec.name)) {
                    return Err(DeliveryError::Twice { sink: spec.name.to_string() });
                }
                let counters = find(&spec.name).map(|lane| Arc::clone(&lane.route.counters));
                drop(lanes);
                Lane::start(spec, counters, &self.inner.wards).map(Step::Add)
            }
            Change::Replace(spec) => {
                let lane = find(&spec.name).ok_or_else(|| unknown(&spec.name))?;
                if lane.hands_over_to(&spec) {
                    return Ok(Step::Change(spec));
                }
                let counters = Some(Arc::clone(&lane.route.counters));
                drop(lanes);
                Lane::start(spec, counters, &self.inner.wards).map(Step::Exchange)
            }
            Change::Remove(name) => find(&name).map(|_| Step::Remove(Arc::clone(&name))).ok_or_else(|| unknown(&name)),
            Change::Filter(name, filter) => {
                find(&name).ok_or_else(|| unknown(&name))?;
                Ok(Step::Filter(name, filter))
            }
        }
    }
}

/// A change that cannot fail any more.
enum Step {
    Add(Lane),
    Exchange(Lane),
    Change(SinkSpec),
    Remove(Arc<str>),
    Filter(Arc<str>, Option<Filter>),
}

impl Step {
    fn take(self, lanes: &mut Vec<Lane>, removed: &mut Vec<Lane>) {
        let place = |lanes: &[Lane], name: &str| lanes.iter().position(|lane| **lane.name() == *name);
        match self {
            Self::Add(lane) => lanes.push(lane),
            Self::Exchange(new) => {
                if let Some(place) = place(lanes, new.name()) {
                    removed.push(std::mem::replace(&mut lanes[place], new));
                }
            }
            Self::Change(spec) => {
                if let Some(place) = place(lanes, &spec.name) {
                    lanes[place].change(spec);
                }
            }
            Self::Remove(name) => {
                if let Some(place) = place(lanes, &name) {
                    removed.push(lanes.remove(place));
                }
            }
            Self::Filter(name, filter) => {
                if let Some(place) = place(lanes, &name) {
                    lanes[place].filter = filter;
                }
            }
        }
    }
}

impl Inner {
    fn lanes(&self) -> MutexGuard<'_, Vec<Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draining(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.draining.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sole_queue(&self) -> Option<Arc<super::queue::Queue>> {
        match &**self.lanes() {
            [lane] => lane.queue_to_wait_for(),
            _ => None,
        }
    }

    /// Delivers what a removed lane still has, within the grace, beside everything else.
    fn drain(&self, route: Arc<Route>) {
        route.close();
        let grace = self.grace;
        let drain = move || route.wait(Instant::now() + grace, reason::REMOVED).tell(&route.counters.name, grace);
        let mut draining = self.draining();
        draining.retain(|thread| !thread.is_finished());
        match thread::Builder::new().name("sink-drain".to_owned()).spawn(drain) {
            Ok(thread) => draining.push(thread),
            Err(error) => tracing::error!(%error, "no thread to wait for a removed sink: what is left is not counted"),
        }
    }
}
