//! The reader: one thread that empties the ring buffer and keeps the sessions.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aya::maps::{MapData, RingBuf};
use capture_common::{ContainerSlot, RecordKind, Via};
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::Notify;

use super::Session;
use super::arena::Arenas;
use super::consumed::Consumed;
use super::ledger::Ledger;
use super::order::Chunk;
use super::pace::{Pace, TICK};
use super::positions::Positions;
use super::stream::kernel_totals;
use super::totals::AgentTotals;
use super::wakeup::Bell;
use crate::containers::directory::Directory;
use crate::delivery::Fanout;
use crate::kernel::{self, Kernel, RingUse, SlotTable, WallClock, decode};
use crate::pipeline::record::{Record, Writer};
use crate::pipeline::shaping::{NextShaping, Shaping};

/// What the ring buffer adds to each record (`BPF_RINGBUF_HDR_SZ`).
const RING_HEADER: u64 = 8;
/// Records read before what they made is handed on.
pub(super) const BATCH_RECORDS: usize = 1024;
/// Bytes read before, at the latest: they are still in the cache when the sink comes to them.
const BATCH_BYTES: usize = 256 << 10;
/// How often totals are written to the ledger, and the clock is measured; not so often while nothing
/// comes.
const LEDGER_INTERVAL: Duration = Duration::from_millis(500);

/// So many bytes between two ticks are much to do.
const MUCH: usize = 4 << 20;

/// What a reader needs.
pub struct ReaderConfig {
    /// The kernel side.
    pub kernel: Arc<Mutex<Kernel>>,
    /// Names.
    pub directory: Arc<Directory>,
    /// Totals.
    pub ledger: Arc<Ledger>,
    /// Where records go.
    pub fanout: Fanout,
    /// Which records are wanted, and what is made of them.
    pub shaping: Shaping,
    /// Where a reload leaves another one.
    pub next_shaping: NextShaping,
    /// Longest line in bytes; longer ones are given out in pieces.
    pub max_line: usize,
    /// The one container whose output is wanted; `None` for all.
    pub only: Option<String>,
    /// How often a session is sealed and the next one begun.
    pub rotation_interval: Duration,
    /// Told when a slot is free again, and when a container found none.
    pub admission: Arc<Notify>,
}

/// The thread that empties the ring buffer.
pub struct Reader {
    pub(super) config: ReaderConfig,
    pub(super) table: Arc<SlotTable>,
    ring: RingBuf<MapData>,
    pub(super) ring_use: Arc<RingUse>,
    pub(super) ring_size: u64,
    ring_high_water: u64,
    pub(super) bell: Bell,
    /// Since the last sleep.
    pub(super) has_read: bool,
    /// Since the last tick.
    pub(super) bytes_read: usize,
    pub(super) pace: Pace,
    /// Whether records are to say who wrote them.
    identify: bool,
    pub(super) sessions: Vec<Option<Session>>,
    /// Ended, but their records still wait for a name.
    pub(super) closing: Vec<Session>,
    pub(super) batch: Vec<Record>,
    /// Containers whose last record is in the batch; what is kept of them on the way is to be forgotten.
    pub(super) ended: Vec<Arc<str>>,
    pub(super) positions: Positions,
    /// When what an earlier agent left of containers that are gone is given up.
    forget_restored: Option<Instant>,
    arenas: Arenas,
    pub(super) clock: WallClock,
    pub(super) highest_slot: u32,
    refused: u64,
    directory_version: u64,
    next_ledger: Instant,
}

/// Ends a reader.
#[derive(Debug)]
pub struct StopReader(OwnedFd);

impl StopReader {
    /// The reader drains the ring buffer, gives out everything that it holds and ends.
    pub fn stop(&self) {
        // Cannot fail: the counter is far from its end.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

impl ReaderConfig {
    pub(super) fn wants(&self, slot: &ContainerSlot) -> bool {
        self.only.as_ref().is_none_or(|only| *only == kernel::container_id(slot))
    }

    /// Takes the ring buffer from the kernel side, and goes on at `positions`.
    ///
    /// # Errors
    ///
    /// Where the ring buffer was taken before, or the process may open no more files.
    pub fn build(self, positions: Positions) -> std::io::Result<(Reader, StopReader)> {
        let (table, ring, ring_size) = {
            let mut kernel = self.kernel.lock().unwrap_or_else(PoisonError::into_inner);
            let ring = kernel.take_records().ok_or_else(|| std::io::Error::other("the ring buffer has a reader"))?;
            (kernel.table(), ring, u64::from(kernel.ring_size()))
        };
        self.ledger.read_kernel_with({
            let table = Arc::clone(&table);
            move |slot| table.get(slot).map(kernel_totals).unwrap_or_default()
        });
        let ring_use = Arc::new(RingUse::map(&ring)?);
        self.ledger.read_ring_with(Arc::clone(&ring_use));
        self.ledger.read_missed_runs_with({
            let kernel = Arc::clone(&self.kernel);
            move || kernel.lock().unwrap_or_else(PoisonError::into_inner).missed_runs()
        });
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let stopper = StopReader(stop.try_clone()?);
        let reader = Reader {
            bell: Bell::new(ring.as_fd(), stop)?,
            table,
            ring,
            ring_use,
            ring_size,
            ring_high_water: 0,
            has_read: false,
            bytes_read: 0,
            pace: Pace::default(),
            identify: false,
            sessions: Vec::new(),
            closing: Vec::new(),
            batch: Vec::new(),
            ended: Vec::new(),
            forget_restored: Some(Instant::now() + self.ledger.grace()),
            positions,
            arenas: Arenas::new(),
            clock: WallClock::now(),
            highest_slot: 0,
            refused: 0,
            directory_version: 0,
            next_ledger: Instant::now(),
            config: self,
        };
        Ok((reader, stopper))
    }
}

impl Reader {
    /// Runs until it is stopped; then everything that the ring buffer held has been handed on.
    pub fn run(mut self) {
        self.identify(self.config.shaping.names_writers());
        let wards = self.config.fanout.wards();
        let _priority = self.take_priority(&wards);
        let mut next_tick = Instant::now();
        loop {
            if self.pace.is_idle {
                self.follow_names(Instant::now());
            }
            let more = self.drain(BATCH_RECORDS);
            if self.bytes_read > MUCH {
                self.bytes_read = 0;
                wards.call_warden();
            }
            let now = Instant::now();
            if self.pace.is_idle && self.has_read {
                self.pace.is_idle = false;
                next_tick = next_tick.min(now + TICK);
            }
            next_tick = self.pace.hasten(next_tick, now);
            if now >= next_tick {
                self.tick(now, false);
                next_tick = self.next_tick(now);
                self.bytes_read = 0;
            }
            self.hand_on(now);
            if more {
                continue;
            }
            // It rests after it has read, and looks again.
            self.config.fanout.pause(self.has_read);
            if self.sleep(next_tick.saturating_duration_since(Instant::now())) {
                break;
            }
        }
        // Nothing is counted as written from here on, so that what is in the ring buffer is all there will be.
        self.config.kernel.lock().unwrap_or_else(PoisonError::into_inner).detach();
        while self.drain(BATCH_RECORDS) {
            self.hand_on(Instant::now());
        }
        self.tick(Instant::now(), true);
        let now = Instant::now();
        self.hand_on(now);
        let mut held = Vec::new();
        self.config.shaping.finish(now, &mut held);
        self.deliver(held);
        // What is counted after the sinks have finished.
        self.config.fanout.finish();
        self.seal_all(Instant::now());
        self.write_ledger();
    }

    /// Reads up to `limit` records; whether there may be more.
    pub(super) fn drain(&mut self, limit: usize) -> bool {
        let read_before = self.bytes_read;
        let more = self.read(limit);
        self.pace.rest.add(self.bytes_read - read_before);
        more
    }

    fn read(&mut self, limit: usize) -> bool {
        self.ring_high_water = self.ring_high_water.max(self.ring_use.bytes());
        let now = Instant::now();
        let read_before = self.bytes_read;
        let mut consumed = Consumed::new(Arc::clone(&self.table), self.ring_size);
        for _ in 0..limit {
            let Some(item) = self.ring.next() else { return false };
            self.has_read = true;
            let Some(record) = decode(&item) else {
                tracing::error!(bytes = item.len(), "a record of unknown layout in the ring buffer");
                continue;
            };
            let header = record.header;
            let (kind, stream) = (record.kind, record.stream);
            // A record may have been given more room than it fills.
            let size = item.len().next_multiple_of(8) as u64 + RING_HEADER;
            self.bytes_read += record.payload.len();
            let data = (!record.payload.is_empty()).then(|| self.arenas.copy(record.payload));
            // The record's place in the ring is free again when the item is dropped.
            drop(item);
            let mut terminal = false;
            if let Some(slot) = self.table.get(header.slot) {
                // What a task writes to a terminal has no carriage returns yet; what the relay reads has.
                terminal = header.via == Via::Relay as u8 && slot.streams[stream as usize].terminal.load(Relaxed) != 0;
            }
            if kind == RecordKind::Output {
                consumed.add(header.slot, size);
            } else {
                // The slot may be given back now.
                consumed.tell();
            }
            match (kind, data) {
                (RecordKind::Output, Some(data)) => {
                    // Records that were made before names were asked for have none.
                    let is_named = self.identify && header.via == Via::Write as u8 && header.pid != 0;
                    let writer = is_named.then_some(Writer { pid: header.pid, uid: header.uid, comm: header.comm });
                    let chunk = Chunk { timestamp: header.timestamp, data, writer };
                    let clock = self.clock;
                    let mut batch = std::mem::take(&mut self.batch);
                    if let Some(session) = self.session(&header, now) {
                        session.push(stream, terminal, header.position, chunk, clock, now, &mut batch);
                    }
                    self.batch = batch;
                }
                (RecordKind::Opened, _) => {
                    self.session(&header, now);
                }
                (RecordKind::Ended, _) => self.end(header.slot, header.generation),
                (RecordKind::Output, None) => {}
            }
            if self.bytes_read - read_before >= BATCH_BYTES {
                break;
            }
        }
        true
    }

    /// What does not come as a record: slots that changed unseen, names, holes, totals.
    fn tick(&mut self, now: Instant, last: bool) {
        // Read before the counters are: what is counted as submitted by then and did not come is missing.
        let drained = self.ring_use.bytes() == 0;
        self.scan_slots(drained, now);
        let names_changed = self.have_names_changed();
        let ReaderConfig { directory, ledger, .. } = &self.config;
        for (index, session) in self.sessions.iter_mut().enumerate() {
            let (Some(session), Some(slot)) = (session, self.table.get(index as u32)) else { continue };
            session.settle(slot, ledger, self.clock, now, &mut self.batch);
            if last {
                session.flush(self.clock, &mut self.batch);
            }
            if names_changed || session.is_waiting_for_name() || last {
                session.attach_metadata(directory, ledger, now, last, &mut self.batch);
            }
        }
        for session in &mut self.closing {
            session.attach_metadata(directory, ledger, now, last, &mut self.batch);
        }
        if !last {
            self.rotate(drained, now);
        }
        if now >= self.next_ledger {
            self.next_ledger = now + LEDGER_INTERVAL;
            self.clock = WallClock::now();
            self.write_ledger();
            self.forget_the_gone(now);
        }
    }

    fn forget_the_gone(&mut self, now: Instant) {
        for id in self.config.ledger.expire(now) {
            self.positions.forget(&id);
        }
        if self.forget_restored.take_if(|when| now >= *when).is_some() {
            let gone: Vec<_> = self.positions.ids().filter(|id| !self.config.ledger.knows(id)).cloned().collect();
            for id in gone {
                self.positions.forget(&id);
            }
        }
    }

    /// Since they were last asked for.
    pub(super) fn have_names_changed(&mut self) -> bool {
        let version = self.config.directory.version();
        std::mem::replace(&mut self.directory_version, version) != version
    }

    /// Has the kernel side name the command of each record's writer, or not.
    fn identify(&mut self, identify: bool) {
        self.identify = identify;
        self.table.globals().identify.store(u64::from(identify), Relaxed);
    }

    fn hand_on(&mut self, now: Instant) {
        if self.pace.awaits_names {
            self.release_held(now);
        }
        let mut held = Vec::new();
        if let Some(next) = self.config.next_shaping.take() {
            self.identify(next.names_writers());
            // What the old one holds was made before, and goes before.
            std::mem::replace(&mut self.config.shaping, next).finish(now, &mut held);
        }
        self.deliver(held);
        let next = Vec::with_capacity(self.batch.len());
        let batch = std::mem::replace(&mut self.batch, next);
        let mut batch = self.config.shaping.process(batch, now);
        for container_id in self.ended.drain(..) {
            self.config.shaping.forget(&container_id, now, &mut batch);
        }
        self.deliver(batch);
    }

    fn deliver(&self, batch: Vec<Record>) {
        if !batch.is_empty() {
            let now = kernel::monotonic();
            let latency = |record: &Record| Duration::from_nanos(now.saturating_sub(record.completed));
            self.config.ledger.latencies.observe_all(batch.iter().map(latency));
            // What comes meanwhile waits in the ring buffer: three quarters of what one container may hold of it.
            self.config.fanout.deliver(batch, || self.ring_use.bytes() < self.ring_size / 8 * 3);
        }
    }

    fn write_ledger(&mut self) {
        let globals = self.table.globals();
        let refused = globals.refused.load(Relaxed);
        if refused != self.refused {
            self.refused = refused;
            self.config.admission.notify_one();
        }
        self.config.ledger.set_agent(AgentTotals {
            active_sessions: 0,
            capacity: u64::from(self.table.capacity()),
            refused,
            waiting: 0,
            ring_size: self.ring_size,
            ring_used: 0,
            ring_high_water: self.ring_high_water,
            missed_runs: 0,
        });
    }
}
