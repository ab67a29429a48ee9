//! The thread that appends to the newest segment.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::super::counters::reason;
use super::super::fate::Sum;
use super::super::gaps::Gaps;
use super::super::load::{Fate, Load};
use super::super::orders::{Orders, Stop};
use super::super::queue::{Queue, Taken};
use super::super::settings::{BatchLimits, OnFull};
use super::codec;
use super::frame::{self, Found, Kind, Point, Salt};
use super::origins::{Definitions, Origins, get_definition, put_definition};
use super::segment::Segment;
use super::store::Store;
use super::wire::Input;
use crate::pipeline::record::Record;

/// What goes into a frame: small enough to find room on a disk that is nearly full, large enough to cost little.
const FRAME: BatchLimits = BatchLimits { max_bytes: 256 << 10, max_records: 1 << 16, timeout: Duration::ZERO };
/// How long the thread waits for records before it looks at the clock.
const PATIENCE: Duration = Duration::from_secs(1);
/// Waits after a failed write: doubled up to the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How often failures are spoken of.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Takes records from a queue in memory, and writes them to disk.
pub(in crate::delivery) struct DiskWriter {
    store: Arc<Store>,
    queue: Arc<Queue>,
    orders: Arc<Orders>,
    active: Option<Active>,
    definitions: Definitions,
    /// What found no room on disk, and has no mark yet.
    gaps: Gaps,
    buffer: Vec<u8>,
    /// When the oldest frame was written that may not be safe from a power failure.
    unsynced: Option<Instant>,
    last_warning: Option<Instant>,
}

/// The segment that is written.
struct Active {
    file: File,
    salt: Salt,
    length: u64,
    is_new: bool,
}

impl DiskWriter {
    pub(in crate::delivery) fn new(store: Arc<Store>, queue: Arc<Queue>, orders: Arc<Orders>) -> Self {
        Self {
            store,
            queue,
            orders,
            active: None,
            definitions: Definitions::default(),
            gaps: Gaps::default(),
            buffer: Vec::new(),
            unsynced: None,
            last_warning: None,
        }
    }

    /// Runs until nothing comes any more.
    pub(in crate::delivery) fn run(mut self) {
        loop {
            let interval = self.store.lock().settings.fsync_interval;
            let due = self.unsynced.map(|since| since + interval);
            let patience = due.map_or(PATIENCE, |due| due.saturating_duration_since(Instant::now()).min(PATIENCE));
            match self.queue.take(&FRAME, patience) {
                Taken::Load(load) => {
                    self.keep(&load);
                    self.queue.done(&load);
                }
                Taken::Idle | Taken::Nudged => {}
                Taken::End => break,
            }
            if due.is_some_and(|due| Instant::now() >= due) {
                self.sync();
            }
        }
        if !self.gaps.is_empty() {
            // Marks may find no more room than what they stand for.
            let _ = self.append(&[]);
        }
        self.sync();
        self.store.close();
    }

    /// Has a load written, however often it takes; drops it where there is no room for it, or the end does not wait.
    pub(super) fn keep(&mut self, load: &Load) {
        let mut wait = RETRY.0;
        loop {
            match self.append(load.records()) {
                Ok(true) => {
                    if self.store.lock().settings.fsync_interval.is_zero() {
                        self.sync();
                    }
                    return;
                }
                Ok(false) => {
                    let places = 0..load.records().len();
                    load.settle(&self.store.counters, places, Fate::Dropped(reason::BUFFER_FULL));
                    for record in load.records() {
                        self.gaps.add(record, reason::BUFFER_FULL);
                    }
                    if self.is_time_to_speak() {
                        let (sink, records) = (&*self.store.counters.name, load.records().len());
                        tracing::warn!(sink, records, "the disk buffer is full: records are dropped");
                    }
                    return;
                }
                Err(error) => {
                    self.store.counters.write_errors.fetch_add(1, Relaxed);
                    if self.is_time_to_speak() {
                        let sink = &*self.store.counters.name;
                        tracing::error!(sink, %error, "the disk buffer cannot be written; records wait in memory as far as they find room");
                    }
                    // The queue behind fills up meanwhile, and drops what finds no room.
                    if !self.orders.sleep(Instant::now() + wait, Stop::Now) {
                        return;
                    }
                    wait = (wait * 2).min(RETRY.1);
                }
            }
        }
    }

    /// Appends a frame of records, after one with the marks of what was dropped before them. Whether there was room. On a
    /// full disk, too, the oldest segments give way if they are to.
    fn append(&mut self, records: &[Record]) -> io::Result<bool> {
        let marks = self.gaps.take();
        let written = loop {
            match self.try_append(&marks, records) {
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    let drops_oldest = self.store.lock().settings.on_full == OnFull::DropOldest;
                    if !drops_oldest || !self.evict() {
                        break Err(error);
                    }
                }
                outcome => break outcome,
            }
        };
        if !matches!(written, Ok(true)) {
            for mark in &marks {
                self.gaps.add(mark, reason::BUFFER_FULL);
            }
        }
        written
    }

    fn try_append(&mut self, marks: &[Record], records: &[Record]) -> io::Result<bool> {
        self.roll_if_full()?;
        let defined = self.definitions.len();
        self.buffer.clear();
        let begin = self.store.lock().tail;
        let end = [marks, records].into_iter().fold(begin, |begin, records| self.encode(begin, records));
        if !self.make_room() {
            self.definitions.take_back(defined);
            return Ok(false);
        }
        let active = self.active.as_mut().ok_or(io::ErrorKind::NotFound)?;
        if let Err(error) = active.file.write_all_at(&self.buffer, active.length) {
            self.definitions.take_back(defined);
            // On a full disk a segment is begun anew, so that this one can go when it is settled.
            if active.file.set_len(active.length).is_err() || active.length > 0 {
                self.close_segment();
            }
            return Err(error);
        }
        active.length += self.buffer.len() as u64;
        self.unsynced.get_or_insert_with(Instant::now);
        self.store.appended(active.length, end);
        Ok(true)
    }

    /// Puts the frames of records into the buffer; where the next one begins.
    fn encode(&mut self, begin: Point, records: &[Record]) -> Point {
        if records.is_empty() {
            return begin;
        }
        let salt = self.active.as_ref().map_or(Salt(0), |active| active.salt);
        let (accounts, buffer) = (&self.store.accounts, &mut self.buffer);
        let mut payload = Vec::new();
        codec::put_records(&mut payload, records, &mut self.definitions, |number, origin, metadata| {
            accounts.remember(origin);
            if let Some(metadata) = metadata {
                let nothing = (0, Sum::default());
                frame::put(buffer, salt, Kind::Definition, begin, nothing, |out| {
                    put_definition(out, number, metadata);
                });
            }
        });
        let sum = Sum::of(records);
        frame::put(buffer, salt, Kind::Records, begin, (records.len() as u32, sum), |out| {
            out.extend_from_slice(&payload);
        });
        begin.after(records.len() as u64, sum)
    }

    /// Whether what is in the buffer may be written, where need be after the oldest segments have given way.
    fn make_room(&mut self) -> bool {
        loop {
            let (fits, on_full) = {
                let state = self.store.lock();
                (state.bytes() + self.buffer.len() as u64 <= state.settings.capacity, state.settings.on_full)
            };
            if fits || on_full == OnFull::DropNewest {
                return fits;
            }
            if !self.evict() {
                return false;
            }
        }
    }

    /// Removes the oldest segment that is not being written; what of it was not delivered is counted and will be marked.
    fn evict(&self) -> bool {
        let (oldest, loaded) = {
            let state = self.store.lock();
            match state.segments.front() {
                Some(oldest) if state.segments.len() > 1 => (oldest.clone(), state.loaded),
                _ => return false,
            }
        };
        let missing = records_after(&oldest, loaded, &self.store).unwrap_or_default();
        let is_evicted = self.store.evict(&missing);
        if is_evicted && !missing.is_empty() {
            let (sink, records) = (&*self.store.counters.name, missing.len());
            tracing::warn!(sink, records, "the disk buffer is full: its oldest segment is dropped");
        }
        is_evicted
    }

    /// Begins a segment where there is none, or the one that is written has its size.
    fn roll_if_full(&mut self) -> io::Result<()> {
        let (limit, tail, directory) = {
            let state = self.store.lock();
            (state.settings.segment_bytes, state.tail, state.settings.directory.clone())
        };
        if self.active.as_ref().is_some_and(|active| active.length < limit) {
            return Ok(());
        }
        self.sync();
        self.close_segment();
        self.store.accounts.tidy();
        let (segment, file) = Segment::create(&directory, tail)?;
        self.active = Some(Active { file, salt: segment.salt, length: 0, is_new: true });
        self.store.begin_segment(segment);
        Ok(())
    }

    fn close_segment(&mut self) {
        self.active = None;
        self.definitions.clear();
    }

    /// Has the disk itself take what was written.
    fn sync(&mut self) {
        if self.unsynced.take().is_none() {
            return;
        }
        let Some(active) = &mut self.active else { return };
        let mut synced = active.file.sync_data();
        if synced.is_ok() && std::mem::take(&mut active.is_new) {
            let directory = self.store.lock().settings.directory.clone();
            synced = File::open(directory).and_then(|directory| directory.sync_all());
        }
        if let Err(error) = synced {
            self.store.counters.write_errors.fetch_add(1, Relaxed);
            if self.is_time_to_speak() {
                let sink = &*self.store.counters.name;
                tracing::error!(sink, %error, "the disk buffer is not safe from a power failure");
            }
        }
    }

    fn is_time_to_speak(&mut self) -> bool {
        let is_time = self.last_warning.is_none_or(|last| last.elapsed() >= WARNING_INTERVAL);
        if is_time {
            self.last_warning = Some(Instant::now());
        }
        is_time
    }
}

/// The records of a segment from a place on.
fn records_after(segment: &Segment, after: Point, store: &Store) -> io::Result<Vec<Record>> {
    let (file, mut at) = (segment.open()?, 0);
    let (mut records, mut origins) = (Vec::new(), Origins::default());
    loop {
        match frame::read(&file, at, segment.length, segment.salt)? {
            Found::Frame(header, payload) => {
                at += header.size();
                match header.kind {
                    Kind::Definition => {
                        if let Ok((number, metadata)) = get_definition(&mut Input::new(payload)) {
                            origins.define(number, metadata);
                        }
                    }
                    Kind::Records if header.end().records > after.records => {
                        let read = codec::get_records(payload, header.records, &mut origins, &store.accounts);
                        let known = after.records.saturating_sub(header.begin.records) as usize;
                        records.extend(read.unwrap_or_default().into_iter().skip(known));
                    }
                    Kind::Records => {}
                }
            }
            Found::Corrupt(next) => at = next,
            Found::End => return Ok(records),
        }
    }
}
