//! The sink's end of a disk buffer.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::super::counters::reason;
use super::super::fate::Sum;
use super::super::load::Load;
use super::super::queue::Taken;
use super::super::settings::BatchLimits;
use super::codec;
use super::frame::{self, Found, Header, Kind, Point};
use super::origins::{Origins, get_definition};
use super::position::PositionFile;
use super::store::{Store, View};
use super::wire::Input;
use crate::pipeline::record::Record;

/// How often the position is written while loads are settled one after the other: as much is delivered again by an agent
/// that follows one that was killed.
const SAVE_INTERVAL: Duration = Duration::from_millis(100);

/// Reads segments, one frame after the other.
pub(in crate::delivery) struct DiskReader {
    store: Arc<Store>,
    cursor: Option<Cursor>,
    origins: Origins,
    /// Where the next frame should begin.
    expected: Point,
    /// Read, and not in a load yet.
    pending: VecDeque<Record>,
    /// Marks at the beginning of the load in hand, which are in no frame.
    marks: usize,
    position: PositionFile,
    saved: Instant,
}

/// A place in a segment.
struct Cursor {
    path: PathBuf,
    /// Opened when something is to be read.
    file: Option<File>,
    at: u64,
}

impl DiskReader {
    pub(super) fn new(store: Arc<Store>, position: PositionFile, settled: Point) -> Self {
        Self {
            store,
            cursor: None,
            origins: Origins::default(),
            expected: settled,
            pending: VecDeque::new(),
            marks: 0,
            position,
            saved: Instant::now(),
        }
    }

    /// What is to be delivered next. Waits for it up to `patience`, and for more up to the limits' timeout.
    pub(in crate::delivery) fn take(&mut self, limits: &BatchLimits, patience: Duration) -> Taken {
        let idle = Instant::now() + patience;
        let mut records = self.store.lock().gaps.take();
        self.marks = records.len();
        let mut bytes = 0;
        let mut due = (self.marks > 0).then(|| Instant::now() + limits.timeout);
        loop {
            if self.pending.is_empty() {
                let frame = self.next_frame();
                self.pending.extend(frame);
            }
            while let Some(next) = self.pending.front() {
                let is_full = bytes + next.stream_bytes() > limits.max_bytes || records.len() >= limits.max_records;
                if is_full && !records.is_empty() {
                    return self.load(records);
                }
                bytes += next.stream_bytes();
                records.extend(self.pending.pop_front());
            }
            let mut state = self.store.lock();
            if std::mem::take(&mut state.nudged) && records.is_empty() {
                return Taken::Nudged;
            }
            if state.loaded.records < state.tail.records && !state.abandoned {
                if !records.is_empty() {
                    due.get_or_insert_with(|| Instant::now() + limits.timeout);
                }
                continue;
            }
            let (now, closed) = (Instant::now(), state.closed || state.abandoned);
            if records.is_empty() {
                if closed || now >= idle {
                    drop(state);
                    self.save();
                    if !closed {
                        return Taken::Idle;
                    }
                    self.store.clear();
                    return Taken::End;
                }
                drop(self.store.wait(state, idle));
            } else {
                let due = *due.get_or_insert_with(|| now + limits.timeout);
                if closed || now >= due {
                    drop(state);
                    return self.load(records);
                }
                drop(self.store.wait(state, due));
            }
        }
    }

    /// The sink is done with what it took, or was stopped before it was.
    pub(in crate::delivery) fn done(&mut self, load: &Load) {
        let settled = load.settled_prefix().unwrap_or_default();
        load.let_go();
        let mut state = self.store.lock();
        if state.abandoned {
            return;
        }
        state.in_hand = None;
        let rest = load.records().iter().skip(settled.max(self.marks));
        let mut back: Vec<Record> = rest.cloned().collect();
        back.extend(self.pending.drain(..));
        self.pending = back.into();
        state.pending = self.pending.len() as u64;
        if let Some(next) = self.pending.front() {
            state.oldest = Some(next.timestamp);
        } else if state.loaded.records >= state.tail.records {
            state.oldest = None;
        }
        // Else what is next is not read yet; it is hardly younger than what was in hand.
        let reached = if self.pending.is_empty() {
            state.loaded
        } else {
            let Sum { lines, bytes } = Sum::of(&self.pending);
            let Point { records, sum } = self.expected;
            let sum = Sum { lines: sum.lines.wrapping_sub(lines), bytes: sum.bytes.wrapping_sub(bytes) };
            Point { records: records - self.pending.len() as u64, sum }
        };
        drop(state);
        self.store.settle(reached);
        if self.saved.elapsed() >= SAVE_INTERVAL {
            self.save();
        }
    }

    /// Remembers what the worker dropped, so that the next it takes begins with marks of it.
    pub(in crate::delivery) fn mark_missing<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a Record>,
        reason: &'static str,
    ) {
        let mut state = self.store.lock();
        for record in records {
            state.gaps.add(record, reason);
        }
    }

    /// Writes down how far the sink has got.
    pub(in crate::delivery) fn save(&mut self) {
        self.saved = Instant::now();
        let settled = self.store.lock().settled;
        if let Err(error) = self.position.write(settled) {
            self.store.counters.write_errors.fetch_add(1, Relaxed);
            let sink = &*self.store.counters.name;
            tracing::warn!(sink, %error, "the position in the disk buffer is not saved; more may be delivered again");
        }
    }

    fn load(&mut self, records: Vec<Record>) -> Taken {
        let end = records.len();
        let load = Arc::new(Load::new(Arc::new(records), 0, end, Vec::new()));
        let mut state = self.store.lock();
        state.pending = self.pending.len() as u64;
        state.oldest = load.records().first().map(|record| record.timestamp);
        state.in_hand = Some(Arc::clone(&load));
        Taken::Load(load)
    }

    /// The records of the next frame that has some; none where nothing more is written.
    fn next_frame(&mut self) -> Vec<Record> {
        loop {
            let loaded = self.store.lock().loaded;
            if loaded.records > self.expected.records {
                // The writer has removed what would come.
                self.expected = loaded;
                self.cursor = None;
            }
            let Some(view) = self.store.view(self.cursor.as_ref().map(|cursor| cursor.path.as_path())) else {
                let tail = self.store.lock().tail;
                self.miss(tail);
                return Vec::new();
            };
            if self.cursor.as_ref().is_none_or(|cursor| cursor.path != view.segment.path) {
                self.go_to(view.segment.path.clone());
            }
            let found = self.find(&view).unwrap_or_else(|error| {
                let (sink, file) = (&*self.store.counters.name, view.segment.path.display());
                tracing::error!(sink, %file, %error, "a segment of the disk buffer cannot be read; the rest of it is lost");
                Found::Corrupt(view.segment.length)
            });
            match found {
                Found::Frame(header, payload) => {
                    self.advance(|at| at + header.size());
                    let records = self.open_frame(header, payload);
                    if !records.is_empty() {
                        return records;
                    }
                }
                Found::Corrupt(next) => {
                    self.store.counters.corrupt_frames.fetch_add(1, Relaxed);
                    self.advance(|_| next);
                }
                Found::End if view.is_last => {
                    // All of it was read; what was written and not found never will be.
                    self.miss(view.tail);
                    return Vec::new();
                }
                Found::End => match self.store.next(&view.segment.path) {
                    Some(path) => self.go_to(path),
                    None => self.cursor = None,
                },
            }
        }
    }

    fn find(&mut self, view: &View) -> std::io::Result<Found> {
        match &mut self.cursor {
            Some(Cursor { file, at, .. }) if *at < view.segment.length => {
                let file = match file {
                    Some(file) => file,
                    none => none.insert(view.segment.open()?),
                };
                frame::read(file, *at, view.segment.length, view.segment.salt)
            }
            _ => Ok(Found::End),
        }
    }

    fn go_to(&mut self, path: PathBuf) {
        self.origins.clear();
        self.cursor = Some(Cursor { path, file: None, at: 0 });
    }

    fn advance(&mut self, to: impl FnOnce(u64) -> u64) {
        if let Some(cursor) = &mut self.cursor {
            cursor.at = to(cursor.at);
        }
    }

    fn open_frame(&mut self, header: Header, payload: bytes::Bytes) -> Vec<Record> {
        let corrupt = &self.store.counters.corrupt_frames;
        if header.kind == Kind::Definition {
            match get_definition(&mut Input::new(payload)) {
                Ok((number, metadata)) => self.origins.define(number, metadata),
                Err(_) => drop(corrupt.fetch_add(1, Relaxed)),
            }
            return Vec::new();
        }
        if header.end().records <= self.expected.records {
            return Vec::new();
        }
        let records = codec::get_records(payload, header.records, &mut self.origins, &self.store.accounts);
        let Ok(mut records) = records else {
            corrupt.fetch_add(1, Relaxed);
            return Vec::new();
        };
        if let Err(loaded) = self.store.claim(self.expected, header.end()) {
            self.expected = loaded;
            self.cursor = None;
            return Vec::new();
        }
        if header.begin.records > self.expected.records {
            self.store.counters.drop_sum(header.begin.since(self.expected), reason::CORRUPT);
        } else {
            records.drain(..(self.expected.records - header.begin.records) as usize);
        }
        self.expected = header.end();
        records
    }

    /// What lies before a place will not be found any more.
    fn miss(&mut self, end: Point) {
        if end.records > self.expected.records && self.store.claim(self.expected, end).is_ok() {
            self.store.counters.drop_sum(end.since(self.expected), reason::CORRUPT);
            self.expected = end;
            self.store.lock().oldest = None;
        }
    }
}
