//! The captured side: a sink that keeps the lines of the containers that are audited.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use capture_common::Stream;
use tokio_util::sync::CancellationToken;

use super::line::{Assembly, Gap, Line, as_logged, is_plain};
use crate::pipeline::record::{Content, Record};
use crate::sinks::delivery::{Receipt, Sink, SinkError};

/// What was captured; shared with the sink that fills it.
#[derive(Clone, Debug)]
pub struct Captured(Arc<Mutex<Store>>);

/// The sink.
#[derive(Debug)]
pub struct CapturedSink(Captured);

#[derive(Debug)]
struct Store {
    containers: HashMap<String, [CapturedStream; 2]>,
    /// Bytes of memory that may be held.
    limit: u64,
    full: CancellationToken,
}

/// One stream.
#[derive(Debug, Default)]
struct CapturedStream {
    assembly: Assembly,
    /// Bytes so far, with those that are missing.
    position: u64,
    /// Whether the first line, of which only the end may be there, reads the same wherever its beginning ends.
    head_is_plain: bool,
}

/// The lines of one stream.
#[derive(Debug, Default)]
pub struct CapturedLines {
    /// The first may be the end of a line.
    pub lines: Vec<Line>,
    /// Whether the first is to be compared: what the engine makes of its end depends on its beginning otherwise.
    pub head_is_plain: bool,
}

impl Captured {
    /// For the containers of these ids; `full` is cancelled when `limit` bytes of memory are held.
    #[must_use]
    pub fn new(ids: impl IntoIterator<Item = String>, limit: u64, full: CancellationToken) -> Self {
        let containers = ids.into_iter().map(|id| (id, <[CapturedStream; 2]>::default())).collect();
        Self(Arc::new(Mutex::new(Store { containers, limit, full })))
    }

    /// What fills it.
    #[must_use]
    pub fn sink(&self) -> CapturedSink {
        CapturedSink(self.clone())
    }

    /// Bytes of all lines so far, with those that are missing.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lock().containers.values().flatten().map(|stream| stream.position).sum()
    }

    /// Takes out a stream's lines. `has_ended`: what has no newline is a line too.
    #[must_use]
    pub fn take(&self, id: &str, stream: Stream, has_ended: bool) -> CapturedLines {
        let mut store = self.lock();
        let Some(streams) = store.containers.get_mut(id) else { return CapturedLines::default() };
        let stream = std::mem::take(&mut streams[stream as usize]);
        stream.finish(has_ended)
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CapturedStream {
    fn take(&mut self, record: &Record) {
        match &record.content {
            Content::Line { message, newline, .. } => {
                self.piece(message, record.timestamp);
                if *newline {
                    self.newline(record.timestamp);
                }
            }
            Content::Lines { data, .. } => {
                for line in data.split_inclusive(|byte| *byte == b'\n') {
                    self.piece(line.strip_suffix(b"\n").unwrap_or(line), record.timestamp);
                    if line.ends_with(b"\n") {
                        self.newline(record.timestamp);
                    }
                }
            }
            Content::Gap { bytes, reason } => {
                let line = self.assembly.push(b"", record.timestamp, self.position);
                let at = line.text.len();
                line.gap.get_or_insert(Gap { at, bytes: *bytes, reason: *reason });
                self.position += bytes;
            }
        }
    }

    fn piece(&mut self, bytes: &[u8], time: i64) {
        if !bytes.is_empty() {
            self.assembly.push(bytes, time, self.position);
            self.position += bytes.len() as u64;
        }
    }

    fn newline(&mut self, time: i64) {
        let is_head = self.assembly.lines.is_empty();
        let mut plain = self.head_is_plain;
        self.assembly.end(time, self.position, |line| plain = Self::log(line));
        if is_head {
            self.head_is_plain = plain;
        }
        self.position += 1;
    }

    /// Makes of a line what the engine does; whether it was plain.
    fn log(line: &mut Line) -> bool {
        let plain = is_plain(&line.text);
        if !plain {
            line.text = as_logged(&line.text);
        }
        plain
    }

    fn finish(mut self, has_ended: bool) -> CapturedLines {
        if has_ended {
            let is_head = self.assembly.lines.is_empty();
            let mut plain = false;
            self.assembly.end_open(|line| plain = Self::log(line));
            if is_head {
                self.head_is_plain = plain;
            }
        } else if self.assembly.has_gap_open() {
            // What is missing must not be missed because no newline came after it.
            self.assembly.end_open(|line| _ = Self::log(line));
        }
        CapturedLines { lines: self.assembly.lines, head_is_plain: self.head_is_plain }
    }
}

impl Sink for CapturedSink {
    fn name(&self) -> &'static str {
        "audit"
    }

    fn write(&mut self, records: &[Record]) -> Result<Receipt, SinkError> {
        let mut store = self.0.lock();
        for record in records {
            if let Some(streams) = store.containers.get_mut(&*record.origin.container_id) {
                streams[record.stream as usize].take(record);
            }
        }
        let held: u64 = store.containers.values().flatten().map(|stream| stream.assembly.memory()).sum();
        if held >= store.limit {
            store.full.cancel();
        }
        Ok(Receipt::default())
    }

    fn check(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn takes_lines_together(&self) -> bool {
        true
    }
}
