//! Marks of what was dropped, where it is missing.

use std::collections::HashMap;
use std::sync::Arc;

use capture_common::Stream;

use crate::pipeline::record::{Content, Origin, Record};

/// What was dropped and has no mark yet, by container and stream.
#[derive(Debug, Default)]
pub(super) struct Gaps(HashMap<(Arc<str>, Stream), Gap>);

#[derive(Debug)]
struct Gap {
    origin: Arc<Origin>,
    timestamp: i64,
    completed: u64,
    position: u64,
    bytes: u64,
    /// `None` where several reasons met.
    reason: Option<&'static str>,
}

impl Gaps {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Remembers where a record is missing. A mark that is dropped itself is made part of the new one.
    pub(super) fn add(&mut self, record: &Record, reason: &'static str) {
        let (bytes, reason) = match record.content {
            Content::Line { .. } | Content::Lines { .. } => (record.stream_bytes(), Some(reason)),
            Content::Gap { bytes, reason } => (bytes, reason),
        };
        let key = (Arc::clone(&record.origin.container_id), record.stream);
        let gap = self.0.entry(key).or_insert_with(|| Gap {
            origin: Arc::clone(&record.origin),
            timestamp: record.timestamp,
            completed: record.completed,
            position: record.position,
            bytes: 0,
            reason,
        });
        gap.bytes += bytes;
        if gap.reason != reason {
            gap.reason = None;
        }
    }

    /// Marks for everything that is remembered.
    pub(super) fn take(&mut self) -> Vec<Record> {
        self.0.drain().map(|((_, stream), gap)| gap.mark(stream)).collect()
    }

    /// Marks for the containers and streams of some records only.
    pub(super) fn take_of<'a>(&mut self, records: impl IntoIterator<Item = &'a Record>) -> Vec<Record> {
        let mut marks = Vec::new();
        for record in records {
            if self.0.is_empty() {
                break;
            }
            if let Some(gap) = self.0.remove(&(Arc::clone(&record.origin.container_id), record.stream)) {
                marks.push(gap.mark(record.stream));
            }
        }
        marks
    }
}

impl Gap {
    fn mark(self, stream: Stream) -> Record {
        Record {
            origin: self.origin,
            stream,
            timestamp: self.timestamp,
            completed: self.completed,
            position: self.position,
            content: Content::Gap { bytes: self.bytes, reason: self.reason },
            attributes: None,
        }
    }
}
