//! Records into one push: grouped by stream, in order of their time.

use std::collections::HashMap;

use bytes::Bytes;

use super::config::MetadataField;
use super::labels::{Labels, selector};
use super::push::{Entry, LabelPair, PushRequest, Stream, Timestamp};
use crate::pipeline::record::{Content, Record};
use crate::sinks::encode::{Encoder, gap_text};

/// How many streams are remembered at least; beyond, those that were quiet for long are forgotten.
const REMEMBERED: usize = 4096;
/// How long a stream is quiet before nothing more can come that has the time of its last entry, in ns.
const QUIET: i64 = 60 * 1_000_000_000;

/// Makes pushes of records.
pub(super) struct Batcher {
    labels: Labels,
    host: String,
    /// `None` for the line alone.
    encoder: Option<Encoder>,
    metadata: Vec<MetadataField>,
    /// By selector: the last entry of each stream that Loki has.
    last: HashMap<String, Last>,
}

/// The last entry of a stream.
#[derive(Clone, Copy, Debug)]
struct Last {
    /// Time of its record.
    original: i64,
    /// Time that it was given, which is that or a few ns more.
    given: i64,
}

/// One push, and what its entries were made of.
pub(super) struct Batch {
    pub(super) request: PushRequest,
    pub(super) streams: Vec<Group>,
}

/// What is to be known of a stream when Loki complains of it.
pub(super) struct Group {
    /// `name="value"` of each label.
    pub(super) pairs: Vec<String>,
    /// In the order of the stream's entries.
    pub(super) entries: Vec<Sent>,
    last: Last,
}

/// What is to be known of an entry.
pub(super) struct Sent {
    /// Place of its record among those of the call.
    pub(super) index: usize,
    /// Bytes of its line.
    pub(super) length: usize,
    /// Bytes of its structured metadata.
    pub(super) metadata: usize,
}

impl Batcher {
    pub(super) fn new(labels: Labels, host: String, encoder: Option<Encoder>, metadata: Vec<MetadataField>) -> Self {
        Self { labels, host, encoder, metadata, last: HashMap::new() }
    }

    /// Puts records together into one push.
    pub(super) fn encode(&mut self, records: &[Record]) -> Batch {
        let groups = self.group(records);
        let mut batch =
            Batch { request: PushRequest { streams: Vec::with_capacity(groups.len()) }, streams: Vec::new() };
        for (labels, pairs, mut indices) in groups {
            // Several containers may share a stream. Stable: what has the same time stays in order.
            indices.sort_by_key(|index| records[*index].timestamp);
            let mut last = self.last.get(&labels).copied();
            let (mut entries, mut sent) = (Vec::with_capacity(indices.len()), Vec::with_capacity(indices.len()));
            for index in indices {
                let record = &records[index];
                let next = after(last, record.timestamp);
                last = Some(next);
                let entry = self.entry(record, next.given);
                let metadata = entry.structured_metadata.iter().map(|pair| pair.name.len() + pair.value.len()).sum();
                sent.push(Sent { index, length: entry.line.len(), metadata });
                entries.push(entry);
            }
            let Some(last) = last else { continue };
            batch.request.streams.push(Stream { labels, entries });
            batch.streams.push(Group { pairs, entries: sent, last });
        }
        batch
    }

    /// Remembers that Loki has a push. One that it may not have is made again just as it was.
    pub(super) fn delivered(&mut self, batch: Batch) {
        for (stream, group) in batch.request.streams.into_iter().zip(batch.streams) {
            self.last.insert(stream.labels, group.last);
        }
        if self.last.len() > REMEMBERED {
            let newest = self.last.values().map(|last| last.given).max().unwrap_or_default();
            self.last.retain(|_, last| last.given > newest - QUIET);
        }
    }

    /// Places of the records of each stream, the streams in order of their first record.
    fn group(&self, records: &[Record]) -> Vec<(String, Vec<String>, Vec<usize>)> {
        let mut groups: Vec<(String, Vec<String>, Vec<usize>)> = Vec::new();
        // Labels are made once for each container and stream, and compared once.
        let mut by_origin = HashMap::new();
        let mut by_labels: HashMap<String, usize> = HashMap::new();
        for (index, record) in records.iter().enumerate() {
            let key = (std::sync::Arc::as_ptr(&record.origin), record.stream);
            let group = *by_origin.entry(key).or_insert_with(|| {
                let pairs = self.labels.render(&record.origin, record.stream, &self.host);
                let labels = selector(&pairs);
                *by_labels.entry(labels.clone()).or_insert_with(|| {
                    groups.push((labels, pairs, Vec::new()));
                    groups.len() - 1
                })
            });
            groups[group].2.push(index);
        }
        groups
    }

    fn entry(&mut self, record: &Record, timestamp: i64) -> Entry {
        let (line, is_text) = self.line(record);
        let structured_metadata = if self.metadata.is_empty() { Vec::new() } else { self.metadata(record, is_text) };
        Entry { timestamp: Some(Timestamp::from_nanos(timestamp)), line, structured_metadata }
    }

    /// The line, and whether the record's own bytes are UTF-8.
    fn line(&mut self, record: &Record) -> (Bytes, bool) {
        let is_text = match &record.content {
            Content::Line { message, .. } | Content::Lines { data: message, .. } => {
                std::str::from_utf8(message).is_ok()
            }
            Content::Gap { .. } => true,
        };
        let bytes = match (&mut self.encoder, &record.content) {
            (None, Content::Line { message, .. } | Content::Lines { data: message, .. }) => message.clone(),
            (None, Content::Gap { .. }) => gap_text(record).into(),
            (Some(encoder), _) => {
                let mut out = Vec::new();
                encoder.encode(record, &mut out);
                if out.last() == Some(&b'\n') {
                    out.pop();
                }
                out.into()
            }
        };
        if is_text || std::str::from_utf8(&bytes).is_ok() {
            (bytes, is_text)
        } else {
            (Bytes::from(String::from_utf8_lossy(&bytes).into_owned()), is_text)
        }
    }

    fn metadata(&self, record: &Record, is_text: bool) -> Vec<LabelPair> {
        let mut pairs = Vec::new();
        let mut add = |name: &str, value: String| pairs.push(LabelPair { name: name.to_owned(), value });
        let attributes = record.attributes.as_deref();
        let writer = attributes.and_then(|attributes| attributes.writer);
        for field in &self.metadata {
            match field {
                MetadataField::ContainerId => add("container_id", record.origin.container_id.to_string()),
                MetadataField::LogRecordUid => add("log_record_uid", record.uid().to_string()),
                MetadataField::Level => {
                    if let Some(level) = attributes.and_then(|attributes| attributes.level) {
                        add("level", level.as_str().to_owned());
                    }
                }
                MetadataField::Pid | MetadataField::Uid | MetadataField::Comm => {
                    let Some(writer) = writer else { continue };
                    match field {
                        MetadataField::Pid => add("pid", writer.pid.to_string()),
                        MetadataField::Uid => add("uid", writer.uid.to_string()),
                        _ => add("comm", writer.command()),
                    }
                }
                MetadataField::Fields => {
                    for (name, value) in attributes.map_or(&[][..], |attributes| &attributes.fields) {
                        // Text as it is, and everything else as JSON.
                        add(name, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
                    }
                }
            }
        }
        match &record.content {
            Content::Line { partial: true, .. } => add("partial", "true".to_owned()),
            Content::Line { .. } | Content::Lines { .. } => {}
            Content::Gap { bytes, reason } => {
                add("lost_bytes", bytes.to_string());
                if let Some(reason) = reason {
                    add("lost_reason", (*reason).to_owned());
                }
            }
        }
        if !is_text {
            add("invalid_utf8", "true".to_owned());
        }
        pairs
    }
}

/// The time of the next entry of a stream.
///
/// Lines of one write have one time, and Loki takes an entry for a repetition that has the time and the text of another:
/// of a line that was printed twice it would keep one. So each entry gets a time of its own, a few ns later than that of
/// its record where they would meet.
fn after(last: Option<Last>, timestamp: i64) -> Last {
    match last {
        Some(Last { original, given }) if (original..=given).contains(&timestamp) => {
            Last { original: timestamp, given: given + 1 }
        }
        _ => Last { original: timestamp, given: timestamp },
    }
}
