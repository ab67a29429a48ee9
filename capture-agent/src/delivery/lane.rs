//! One sink with its buffer and its threads.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::DeliveryError;
use super::counters::Counters;
use super::disk::{self, DiskWriter, Store};
use super::fanout::{Filter, SinkSpec};
use super::fate::{Fates, Sum};
use super::orders::{Orders, Outfit, Stop};
use super::queue::Queue;
use super::settings::{Buffer, OnFull};
use super::status::{Connections, SinkStatus};
use super::worker::{Source, Worker};
use crate::pipeline::record::Record;
use crate::priority::Wards;
use crate::sinks::delivery::Sink;
use crate::socket::SocketHealth;

/// How long a thread may take to end once it has nothing to do.
const END: Duration = Duration::from_millis(500);

/// Bytes of memory before a disk buffer, for as long as the disk is slow.
const STAGE: u64 = 8 << 20;

/// What the fan-out has of a sink.
pub(super) struct Lane {
    pub(super) route: Arc<Route>,
    pub(super) filter: Option<Filter>,
    buffer: Buffer,
    /// Lines of one write may come as one record.
    pub(super) takes_lines_together: bool,
}

/// The way to one sink: its buffer and its threads.
pub(super) struct Route {
    pub(super) counters: Arc<Counters>,
    /// In memory; before the disk, if the buffer is there.
    queue: Arc<Queue>,
    disk: Option<Arc<Store>>,
    orders: Arc<Orders>,
    /// How the connections of the sink of the day fare, if it has some.
    connections: Mutex<Option<Arc<SocketHealth>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What a sink leaves behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Leftover {
    /// Not delivered, and gone.
    pub(super) dropped: Sum,
    /// Not delivered, and on disk.
    pub(super) kept: Sum,
}

impl Lane {
    /// Starts the threads of a sink. `counters`: of the sink whose place it takes, if there is one.
    pub(super) fn start(spec: SinkSpec, counters: Option<Arc<Counters>>, wards: &Wards) -> Result<Self, DeliveryError> {
        let SinkSpec { name, sink, filter, batch, buffer, retry, closed } = spec;
        let counters = counters.unwrap_or_else(|| Arc::new(Counters::new(Arc::clone(&name))));
        let orders = Arc::<Orders>::default();
        let takes_lines_together = takes_lines_together(&*sink, &buffer);
        let has_priority = sink.has_priority();
        let connections = Mutex::new(sink.connections());
        let outfit = Outfit { sink, limits: batch, retry, closed };
        let (capacity, on_full) = match &buffer {
            Buffer::Memory { capacity, on_full } => (*capacity, *on_full),
            Buffer::Disk(_) => (STAGE, OnFull::DropNewest),
        };
        let queue = Arc::new(Queue::new(capacity, on_full, Arc::clone(&counters)));
        let mut threads = Vec::new();
        let (disk, source) = match &buffer {
            Buffer::Memory { .. } => (None, Source::Memory(Arc::clone(&queue))),
            Buffer::Disk(settings) => {
                let unusable = |source| DeliveryError::Disk { sink: name.to_string(), source };
                let (store, reader) = disk::open(settings, &counters).map_err(unusable)?;
                let writer = DiskWriter::new(Arc::clone(&store), Arc::clone(&queue), Arc::clone(&orders));
                threads.push(spawn(&name, "disk", move || writer.run())?);
                (Some(store), Source::Disk(Box::new(reader)))
            }
        };
        let worker = Worker::new(Arc::clone(&counters), Arc::clone(&orders), outfit, source);
        let (wards, waiting) = (wards.clone(), Arc::clone(&queue));
        let route = Route { counters, queue, disk, orders, connections, threads: Mutex::new(threads) };
        let run = move || {
            // The reader has said so if it cannot be.
            let _ward = has_priority.then(|| wards.enter(move || waiting.is_filling_up()).ok());
            worker.run();
        };
        match spawn(&name, "sink", run) {
            Ok(thread) => route.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread),
            Err(error) => {
                route.close();
                return Err(error);
            }
        }
        Ok(Self { route: Arc::new(route), filter, buffer, takes_lines_together })
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.route.counters.name
    }

    /// Takes those of a batch that are meant for it. Where some are not: which ones are. Its threads may sleep on
    /// until there is more, or until a [pause](Route::pause).
    pub(super) fn offer(&mut self, records: &Arc<Vec<Record>>, fates: &Arc<Fates>) -> Option<Vec<u32>> {
        self.route.counters.submitted.add(fates.sum);
        let picked = self.filter.as_mut().and_then(|filter| {
            let mut filtered = Sum::default();
            let mut picked = Vec::with_capacity(records.len());
            for (place, record) in (0..).zip(&**records) {
                if filter(record) {
                    picked.push(place);
                } else {
                    filtered.add(record);
                }
            }
            self.route.counters.filtered.add(filtered);
            (picked.len() < records.len()).then_some(picked)
        });
        self.route.queue.push(records, picked.as_deref(), fates);
        picked
    }

    /// Where the reader of the ring buffer may wait for room; not for a disk.
    pub(super) fn queue_to_wait_for(&self) -> Option<Arc<Queue>> {
        self.route.disk.is_none().then(|| Arc::clone(&self.route.queue))
    }

    /// Whether another sink can go on with what waits for this one.
    pub(super) fn hands_over_to(&self, other: &SinkSpec) -> bool {
        if self.takes_lines_together != takes_lines_together(&*other.sink, &other.buffer) {
            return false;
        }
        match (&self.buffer, &other.buffer) {
            (Buffer::Memory { .. }, Buffer::Memory { .. }) => true,
            (Buffer::Disk(this), Buffer::Disk(other)) => this.directory == other.directory,
            _ => false,
        }
    }

    /// Goes on with another sink, filter and bounds; what waits is delivered to the new sink.
    pub(super) fn change(&mut self, spec: SinkSpec) {
        let SinkSpec { name: _, sink, filter, batch, buffer, retry, closed } = spec;
        self.filter = filter;
        match (&buffer, &self.route.disk) {
            (Buffer::Memory { capacity, on_full }, _) => self.route.queue.resize(*capacity, *on_full),
            (Buffer::Disk(settings), Some(disk)) => disk.adjust(settings.clone()),
            (Buffer::Disk(_), None) => {}
        }
        self.buffer = buffer;
        *self.route.connections.lock().unwrap_or_else(PoisonError::into_inner) = sink.connections();
        self.route.orders.change(Outfit { sink, limits: batch, retry, closed });
        self.route.nudge();
    }
}

fn takes_lines_together(sink: &dyn Sink, buffer: &Buffer) -> bool {
    matches!(buffer, Buffer::Memory { .. }) && sink.takes_lines_together()
}

impl Route {
    /// Has the sink open its files anew.
    pub(super) fn reopen(&self) {
        self.orders.reopen();
        self.nudge();
    }

    fn nudge(&self) {
        match &self.disk {
            Some(disk) => disk.nudge(),
            None => self.queue.nudge(),
        }
    }

    /// Whoever offers pauses.
    pub(super) fn pause(&self, for_a_moment: bool) {
        self.queue.pause(for_a_moment);
    }

    /// Nothing comes any more: the threads end when they have delivered what waits.
    pub(super) fn close(&self) {
        self.orders.stop(Stop::Drained);
        self.queue.close();
    }

    /// Waits up to `deadline` until a closed one is empty; then gives up what is left, for `reason`.
    pub(super) fn wait(&self, deadline: Instant, reason: &'static str) -> Leftover {
        let mut leftover = Leftover::default();
        if !self.queue.wait_until_empty(deadline) {
            // Before the threads are told, so that what they let go of is not taken for delivered.
            leftover.dropped = self.queue.abandon(reason);
            self.orders.stop(Stop::Now);
        }
        let mut threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        join(&mut threads, deadline);
        if !threads.is_empty() {
            // One that is in the middle of a request is left alone.
            self.orders.stop(Stop::Now);
            self.nudge();
            join(&mut threads, Instant::now() + END);
        }
        if let Some(disk) = &self.disk {
            disk.abandon();
            leftover.kept = disk.kept();
        }
        leftover
    }

    pub(super) fn status(&self) -> SinkStatus {
        let level =
            self.disk.as_ref().map_or_else(|| self.queue.level(), |disk| disk.level().with_stage(self.queue.level()));
        let counters = &self.counters;
        SinkStatus {
            name: Arc::clone(&counters.name),
            totals: counters.read(),
            queue: level,
            health: counters.health.lock().unwrap_or_else(PoisonError::into_inner).report(),
            requests: counters.read_requests(),
            connections: self
                .connections
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .as_deref()
                .map(Connections::of),
        }
    }
}

impl Leftover {
    /// Says what a sink did not take.
    pub(super) fn tell(self, sink: &str, grace: Duration) {
        let Sum { lines, bytes } = self.dropped;
        if lines > 0 {
            let seconds = grace.as_secs();
            tracing::warn!(
                sink,
                records = lines,
                bytes,
                seconds,
                "the sink did not take everything in time; the rest is dropped"
            );
        }
    }
}

/// Joins those threads that end by `deadline`.
fn join(threads: &mut Vec<JoinHandle<()>>, deadline: Instant) {
    while !threads.is_empty() {
        for thread in threads.extract_if(.., |thread| thread.is_finished()) {
            // Its panic was reported when it happened.
            let _ = thread.join();
        }
        if Instant::now() >= deadline {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn spawn(name: &str, role: &'static str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, DeliveryError> {
    let refused = |source: io::Error| DeliveryError::Thread { sink: name.to_owned(), source };
    thread::Builder::new().name(format!("{role}-{name}")).spawn(run).map_err(refused)
}
