//! The reader: one thread that empties the ring buffer and keeps the sessions.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aya::maps::{MapData, RingBuf};
use bytes::BytesMut;
use capture_common::{ContainerSlot, RecordHeader, RecordKind, SlotState, Via};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::ledger::{AgentTotals, Ledger};
use super::order::Chunk;
use super::{Session, kernel_totals};
use crate::containers::directory::Directory;
use crate::kernel::{self, Kernel, SlotTable, WallClock, decode};
use crate::pipeline::record::Record;
use crate::sinks::Queue;

/// What the ring buffer adds to each record (`BPF_RINGBUF_HDR_SZ`).
const RING_HEADER: u64 = 8;
/// Memory that payloads are copied into is taken in pieces of this size.
const ARENA: usize = 256 << 10;
/// Records read before what they made is handed on.
const BATCH_RECORDS: usize = 1024;
/// How often sessions are looked at while nothing is urgent.
const TICK: Duration = Duration::from_millis(100);
/// How often while records wait for a name or for a hole to be filled.
const URGENT_TICK: Duration = Duration::from_millis(10);
/// How often totals are written to the ledger, and the clock is measured.
const LEDGER_INTERVAL: Duration = Duration::from_millis(500);
/// How often the kernel is asked for runs that it skipped: a file for each program.
const MISSED_RUNS_INTERVAL: Duration = Duration::from_secs(5);
/// Slots looked at beyond the highest one that was seen in use.
const SLOTS_AHEAD: u32 = 64;

/// What a reader needs.
pub struct ReaderConfig {
    /// The kernel side.
    pub kernel: Arc<Mutex<Kernel>>,
    /// Names.
    pub directory: Arc<Directory>,
    /// Totals.
    pub ledger: Arc<Ledger>,
    /// Where records go.
    pub queue: Queue,
    /// Longest line in bytes; longer ones are given out in pieces.
    pub max_line: usize,
    /// The one container whose output is wanted; `None` for all.
    pub only: Option<String>,
}

/// The thread that empties the ring buffer.
pub struct Reader {
    config: ReaderConfig,
    table: Arc<SlotTable>,
    ring: RingBuf<MapData>,
    ring_size: u64,
    stop: OwnedFd,
    sessions: Vec<Option<Session>>,
    /// Ended, but their records still wait for a name.
    closing: Vec<Session>,
    batch: Vec<Record>,
    arena: BytesMut,
    clock: WallClock,
    highest_slot: u32,
    directory_version: u64,
    next_ledger: Instant,
    missed_runs: u64,
    next_missed_runs: Instant,
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
    fn wants(&self, slot: &ContainerSlot) -> bool {
        self.only.as_ref().is_none_or(|only| *only == kernel::container_id(slot))
    }

    /// Takes the ring buffer from the kernel side.
    ///
    /// # Errors
    ///
    /// Where the ring buffer was taken before, or the process may open no more files.
    pub fn build(self) -> std::io::Result<(Reader, StopReader)> {
        let (table, ring, ring_size) = {
            let mut kernel = self.kernel.lock().unwrap_or_else(PoisonError::into_inner);
            let ring = kernel.take_records().ok_or_else(|| std::io::Error::other("the ring buffer has a reader"))?;
            (kernel.table(), ring, u64::from(kernel.ring_size()))
        };
        self.ledger.read_kernel_with({
            let table = Arc::clone(&table);
            move |slot| table.get(slot).map(kernel_totals).unwrap_or_default()
        });
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let stopper = StopReader(stop.try_clone()?);
        let reader = Reader {
            table,
            ring,
            ring_size,
            stop,
            sessions: Vec::new(),
            closing: Vec::new(),
            batch: Vec::new(),
            arena: BytesMut::with_capacity(ARENA),
            clock: WallClock::now(),
            highest_slot: 0,
            directory_version: 0,
            next_ledger: Instant::now(),
            missed_runs: 0,
            next_missed_runs: Instant::now(),
            config: self,
        };
        Ok((reader, stopper))
    }
}

impl Reader {
    /// Runs until it is stopped; then everything that the ring buffer held has been handed on.
    pub fn run(mut self) {
        let mut next_tick = Instant::now();
        loop {
            let more = self.drain(BATCH_RECORDS);
            let now = Instant::now();
            if now >= next_tick {
                self.tick(now, false);
                next_tick = now + if self.is_urgent() { URGENT_TICK } else { TICK };
            }
            self.hand_on();
            if more {
                continue;
            }
            if self.wait(next_tick.saturating_duration_since(Instant::now())) {
                break;
            }
        }
        while self.drain(BATCH_RECORDS) {
            self.hand_on();
        }
        let now = Instant::now();
        self.tick(now, true);
        self.hand_on();
        // What is counted after the sinks have finished.
        self.config.queue.finish();
        self.write_ledger();
    }

    /// Reads up to `limit` records; whether there may be more.
    fn drain(&mut self, limit: usize) -> bool {
        for _ in 0..limit {
            let Some(item) = self.ring.next() else { return false };
            let Some(record) = decode(&item) else {
                tracing::error!(bytes = item.len(), "a record of unknown layout in the ring buffer");
                continue;
            };
            let header = record.header;
            let (kind, stream) = (record.kind, record.stream);
            let data = if record.payload.is_empty() {
                None
            } else {
                if self.arena.capacity() < record.payload.len() {
                    self.arena.reserve(ARENA.max(record.payload.len()));
                }
                self.arena.extend_from_slice(record.payload);
                Some(self.arena.split().freeze())
            };
            // The record's place in the ring is free again when the item is dropped.
            drop(item);
            let mut terminal = false;
            if let Some(slot) = self.table.get(header.slot) {
                // What a task writes to a terminal has no carriage returns yet; what the relay reads has.
                terminal = header.via == Via::Relay as u8 && slot.streams[stream as usize].terminal.load(Relaxed) != 0;
                let size = RecordHeader::SIZE as u64 + u64::from(header.length) + RING_HEADER;
                if kind == RecordKind::Output {
                    slot.ring_consumed.fetch_add(size, Relaxed);
                }
            }
            match (kind, data) {
                (RecordKind::Output, Some(data)) => {
                    let chunk = Chunk { timestamp: header.timestamp, data };
                    let (clock, now) = (self.clock, Instant::now());
                    let mut batch = std::mem::take(&mut self.batch);
                    if let Some(session) = self.session(&header, now) {
                        session.push(stream, terminal, header.position, chunk, clock, now, &mut batch);
                    }
                    self.batch = batch;
                }
                (RecordKind::Opened, _) => {
                    self.session(&header, Instant::now());
                }
                (RecordKind::Ended, _) => self.end(header.slot, header.generation),
                (RecordKind::Output, None) => {}
            }
        }
        true
    }

    /// The session of a record; opened if this is the first sight of it.
    fn session(&mut self, header: &RecordHeader, now: Instant) -> Option<&mut Session> {
        let slot = self.table.get(header.slot)?;
        if slot.generation.load(Relaxed) as u32 != header.generation {
            return None;
        }
        open(&mut self.sessions, &mut self.highest_slot, &self.config, slot, header.slot, now)
    }

    /// The cgroup of a slot is gone. Its last record precedes the mark of the end, so the session is complete.
    fn end(&mut self, index: u32, generation: u32) {
        let Some(slot) = self.table.get(index) else { return };
        if slot.generation.load(Relaxed) as u32 != generation || slot.state.load(Relaxed) != SlotState::Ended as u64 {
            return;
        }
        let now = Instant::now();
        let session = self.sessions.get(index as usize).and_then(Option::as_ref);
        if session.is_some_and(|session| !session.is_drained(slot)) {
            // The next scan of the slots sees whether it is by then.
            return;
        }
        let session = self.sessions.get_mut(index as usize).and_then(Option::take);
        if let Some(mut session) = session {
            session.finish(slot, self.clock, now, &mut self.batch);
            let ReaderConfig { directory, ledger, .. } = &self.config;
            session.attach_metadata(directory, ledger, now, false, &mut self.batch);
            ledger.close(session.id(), index, kernel_totals(slot), now);
            tracing::debug!(container_id = %session.id(), "session closed");
            if session.is_waiting_for_name() {
                self.closing.push(session);
            }
        }
        if let Err(error) = self.config.kernel.lock().unwrap_or_else(PoisonError::into_inner).release(index) {
            tracing::error!(%error, "slot not released");
        }
    }

    /// What does not come as a record: slots that changed unseen, names, holes, totals.
    fn tick(&mut self, now: Instant, last: bool) {
        self.scan_slots(now);
        let version = self.config.directory.version();
        let names_changed = version != self.directory_version;
        self.directory_version = version;
        let ReaderConfig { directory, ledger, .. } = &self.config;
        for (index, session) in self.sessions.iter_mut().enumerate() {
            let (Some(session), Some(slot)) = (session, self.table.get(index as u32)) else { continue };
            session.settle(slot, self.clock, now, &mut self.batch);
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
        self.closing.retain(Session::is_waiting_for_name);
        if now >= self.next_ledger {
            self.next_ledger = now + LEDGER_INTERVAL;
            self.clock = WallClock::now();
            if now >= self.next_missed_runs {
                self.next_missed_runs = now + MISSED_RUNS_INTERVAL;
                self.missed_runs = self.config.kernel.lock().unwrap_or_else(PoisonError::into_inner).missed_runs();
            }
            self.write_ledger();
            self.config.ledger.expire(now);
        }
    }

    /// Opens and ends sessions whose mark found no room in the ring buffer.
    fn scan_slots(&mut self, now: Instant) {
        let end = self.table.capacity().min(self.highest_slot.saturating_add(SLOTS_AHEAD));
        let table = Arc::clone(&self.table);
        for index in 0..end {
            let Some(slot) = table.get(index) else { break };
            match SlotState::from_u64(slot.state.load(Relaxed)) {
                Some(SlotState::Open) => {
                    open(&mut self.sessions, &mut self.highest_slot, &self.config, slot, index, now);
                }
                Some(SlotState::Ended) => {
                    let is_wanted = self.config.wants(slot);
                    let drained = match self.sessions.get(index as usize).and_then(Option::as_ref) {
                        Some(session) => session.is_drained(slot),
                        None => !is_wanted || slot.streams.iter().all(|stream| stream.submitted.load(Relaxed) == 0),
                    };
                    if drained {
                        self.end(index, slot.generation.load(Relaxed) as u32);
                    } else {
                        open(&mut self.sessions, &mut self.highest_slot, &self.config, slot, index, now);
                    }
                }
                _ => {}
            }
        }
    }

    fn is_urgent(&self) -> bool {
        !self.closing.is_empty()
            || self.sessions.iter().flatten().any(|session| {
                session.is_waiting_for_name() || session.streams.iter().any(|stream| stream.waiting_since.is_some())
            })
    }

    fn hand_on(&mut self) {
        if !self.batch.is_empty() {
            let used = self.ring_used();
            let has_room = used < self.ring_size / 4;
            let batch = std::mem::take(&mut self.batch);
            self.config.queue.deliver(batch, has_room);
        }
    }

    fn ring_used(&self) -> u64 {
        (0..=self.highest_slot)
            .filter_map(|index| self.table.get(index))
            .map(|slot| slot.ring_submitted.load(Relaxed).saturating_sub(slot.ring_consumed.load(Relaxed)))
            .sum()
    }

    fn write_ledger(&self) {
        let globals = self.table.globals();
        self.config.ledger.set_agent(AgentTotals {
            active_sessions: 0,
            capacity: u64::from(self.table.capacity()),
            refused: globals.refused.load(Relaxed),
            ring_size: self.ring_size,
            ring_used: self.ring_used(),
            missed_runs: self.missed_runs,
        });
    }

    /// Sleeps until there is a record, or for `timeout`; whether it is time to stop.
    fn wait(&self, timeout: Duration) -> bool {
        let mut fds =
            [PollFd::from_borrowed_fd(self.ring.as_fd(), PollFlags::IN), PollFd::new(&self.stop, PollFlags::IN)];
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(timeout.min(TICK).subsec_nanos()) };
        // An interrupted wait is a short one.
        let _ = poll(&mut fds, Some(&timeout));
        fds[1].revents().contains(PollFlags::IN)
    }
}

/// The session of a slot in use, opened if there is none yet.
fn open<'a>(
    sessions: &'a mut Vec<Option<Session>>,
    highest_slot: &mut u32,
    config: &ReaderConfig,
    slot: &ContainerSlot,
    index: u32,
    now: Instant,
) -> Option<&'a mut Session> {
    *highest_slot = (*highest_slot).max(index);
    let index = index as usize;
    if sessions.len() <= index {
        sessions.resize_with(index + 1, || None);
    }
    let generation = slot.generation.load(Relaxed) as u32;
    let entry = sessions.get_mut(index)?;
    if entry.as_ref().is_none_or(|session| session.generation != generation) {
        if !config.wants(slot) {
            return None;
        }
        let id = Arc::from(kernel::container_id(slot));
        let account = config.ledger.open(&id, index as u32);
        let session = Session::open(slot, id, account, config.max_line, now);
        tracing::debug!(container_id = %session.id(), "session opened");
        // Asks the engine at once, so that the answer is there when the first line is.
        config.directory.lookup(session.id());
        *entry = Some(session);
    }
    entry.as_mut()
}
