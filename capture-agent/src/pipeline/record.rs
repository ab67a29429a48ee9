//! What sessions hand to the pipeline, and the pipeline to sinks.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use capture_common::{COMM_LEN, Stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::containers::directory::Metadata;

/// Where a record comes from: a container, as far as it is known at that moment. Shared by all its records.
#[derive(Debug)]
pub struct Origin {
    /// 64 hexadecimal digits.
    pub container_id: Arc<str>,
    /// What the engine said; `None` where it has not answered in time, or does not know the container.
    pub metadata: Option<Arc<Metadata>>,
    /// Where deliveries are counted.
    pub account: Arc<Account>,
    /// What the JSON encoding writes for every record of this origin; rendered once.
    pub rendered: OnceLock<Vec<u8>>,
    /// The same for logfmt.
    pub rendered_logfmt: OnceLock<Vec<u8>>,
}

impl Origin {
    /// An origin with nothing rendered yet.
    #[must_use]
    pub fn new(container_id: Arc<str>, metadata: Option<Arc<Metadata>>, account: Arc<Account>) -> Self {
        Self { container_id, metadata, account, rendered: OnceLock::new(), rendered_logfmt: OnceLock::new() }
    }

    /// The container's name, or its id while the name is not known.
    #[must_use]
    pub fn name(&self) -> &str {
        self.metadata.as_ref().map_or(&self.container_id, |metadata| &metadata.name)
    }
}

/// What became of the bytes that a session took from the ring buffer, by [`Stream`].
#[derive(Debug, Default)]
pub struct Account {
    /// One for each stream.
    pub streams: [StreamAccount; 2],
    /// Lines that each sink took, by its name.
    by_sink: Mutex<Vec<(Arc<str>, u64)>>,
}

/// What became of the bytes of one stream. Each record is counted once, however many sinks there are.
#[derive(Debug, Default)]
pub struct StreamAccount {
    /// Records that every sink has, or has in its disk buffer, that was to have them.
    pub lines: AtomicU64,
    /// Bytes of these records.
    pub delivered: AtomicU64,
    /// Bytes of the records that no sink was to have.
    pub filtered: AtomicU64,
    /// Bytes of the records that did not reach every sink that was to have them, by [`DropKind`].
    pub dropped: [AtomicU64; DropKind::ALL.len()],
}

/// Why a record did not reach a sink that was to have it: the kinds that are told apart for each container. The reasons
/// of each sink are finer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropKind {
    /// The sink's buffer, in memory or on disk, had no room.
    QueueFull,
    /// The container's rate limit let it not pass.
    RateLimit,
    /// The destination would not take it.
    Refused,
    /// It could not be delivered in time: the sink gave up, was removed, or the agent ended.
    Undelivered,
}

impl DropKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::QueueFull, Self::RateLimit, Self::Refused, Self::Undelivered];

    /// Value of the `reason` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::RateLimit => "rate_limit",
            Self::Refused => "refused",
            Self::Undelivered => "undelivered",
        }
    }
}

impl Account {
    /// Counts lines of the container that a sink took.
    pub fn taken(&self, sink: &Arc<str>, lines: u64) {
        let mut by_sink = self.by_sink.lock().unwrap_or_else(PoisonError::into_inner);
        match by_sink.iter_mut().find(|(name, _)| name == sink) {
            Some((_, sum)) => *sum += lines,
            None => by_sink.push((Arc::clone(sink), lines)),
        }
    }

    /// Lines of the container that each sink took, by its name.
    #[must_use]
    pub fn by_sink(&self) -> Vec<(Arc<str>, u64)> {
        self.by_sink.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A line of output, a piece of one, lines of one write, or the mark of a gap.
#[derive(Clone, Debug)]
pub struct Record {
    /// The container.
    pub origin: Arc<Origin>,
    /// Which of its streams.
    pub stream: Stream,
    /// Time of the write that began the line, in nanoseconds since the Unix epoch; until the year 2262.
    pub timestamp: i64,
    /// `CLOCK_MONOTONIC` of the write that completed the record, in ns: where its latency begins.
    pub completed: u64,
    /// Bytes of the stream before it, since the container was first captured.
    pub position: u64,
    /// What it says.
    pub content: Content,
    /// What the pipeline found in it; `None` where it was not asked to look, or found nothing.
    pub attributes: Option<Box<Attributes>>,
}

/// What the pipeline knows of a record beyond its bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes {
    /// How severe it is.
    pub level: Option<Level>,
    /// Fields of a structured line, in their order.
    pub fields: Vec<(String, serde_json::Value)>,
    /// Who wrote it.
    pub writer: Option<Writer>,
}

/// The process that wrote a line's first byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Writer {
    /// Process id (thread group) in the host's namespace.
    pub pid: u32,
    /// User id in the host's namespace.
    pub uid: u32,
    /// Command name, padded with zeroes (`TASK_COMM_LEN` of `include/linux/sched.h`).
    pub comm: [u8; COMM_LEN],
}

impl Writer {
    /// The command name as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn command(&self) -> String {
        String::from_utf8_lossy(self.command_bytes()).into_owned()
    }

    /// The command name without its padding: any bytes but zero.
    #[must_use]
    pub fn command_bytes(&self) -> &[u8] {
        let length = self.comm.iter().position(|byte| *byte == 0).unwrap_or(self.comm.len());
        &self.comm[..length]
    }
}

/// Severities, from least to most severe: the short names of OpenTelemetry's log data model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Finer than debug.
    Trace,
    /// For developers.
    Debug,
    /// As it should be.
    Info,
    /// Not yet an error.
    Warn,
    /// Something failed.
    Error,
    /// The program cannot go on.
    Fatal,
}

impl Level {
    /// As it is written in records and labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }
}

/// Identifies a record among all: the same when it is delivered again, so that a receiver can leave out the second.
///
/// The time of its write, then a hash of its container, stream and position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Uid(pub u128);

impl std::fmt::Display for Uid {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Output, without its newline.
    Line {
        /// Exact bytes; not necessarily UTF-8.
        message: Bytes,
        /// Whether a newline followed.
        newline: bool,
        /// Whether the line goes on in the next record, or was cut off by a gap.
        partial: bool,
        /// Bytes of the stream that the message leaves out beside the newline; below zero where something was put in
        /// place of what it said, and is longer.
        omitted: i64,
    },
    /// Whole lines that one write carried, so that what is said of one is said of all.
    Lines {
        /// The lines as they stand in the stream, each with its newline.
        data: Bytes,
        /// How many.
        count: u32,
    },
    /// Bytes are missing at this place.
    Gap {
        /// How many.
        bytes: u64,
        /// Why: a value of the `reason` label of the metrics; `None` where several reasons met.
        reason: Option<&'static str>,
    },
}

impl Record {
    /// Its identity.
    #[must_use]
    pub fn uid(&self) -> Uid {
        // FNV-1a, which is written down and never changes.
        // A gap has no bytes of its own: the line after it may have both its time and its position.
        let mark = matches!(self.content, Content::Gap { .. }).then_some(u8::MAX);
        let bytes = self.origin.container_id.bytes().chain([self.stream as u8]).chain(self.position.to_le_bytes());
        let bytes = bytes.chain(mark);
        let hash =
            bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Uid(u128::from(self.timestamp.cast_unsigned()) << 64 | u128::from(hash))
    }

    /// Bytes of memory that it holds, about: what a queue of records is to be bounded by. Fields take some times as much
    /// as the text that they were read from.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let message = match &self.content {
            Content::Line { message, .. } => message.len(),
            Content::Lines { data, .. } => data.len(),
            Content::Gap { .. } => 0,
        };
        let attributes = self.attributes.as_ref().map_or(0, |attributes| {
            let field =
                |(name, value): &(String, serde_json::Value)| size_of::<String>() + name.len() + memory_of(value);
            size_of::<Attributes>() + attributes.fields.iter().map(field).sum::<usize>()
        });
        (size_of::<Self>() + message + attributes) as u64
    }

    /// Bytes of the container's stream that the record stands for.
    #[must_use]
    pub fn stream_bytes(&self) -> u64 {
        match &self.content {
            Content::Line { message, newline, omitted, .. } => {
                (message.len() as u64 + u64::from(*newline)).saturating_add_signed(*omitted)
            }
            Content::Lines { data, .. } => data.len() as u64,
            Content::Gap { .. } => 0,
        }
    }

    /// Each of its lines as a record of its own, where it is several; itself where it is not.
    pub fn lines_apart(&self) -> impl Iterator<Item = Self> {
        let (data, single) = match &self.content {
            Content::Lines { data, .. } => (data.clone(), None),
            _ => (Bytes::new(), Some(self.clone())),
        };
        let mut start = 0;
        let lines = std::iter::from_fn(move || {
            let rest = data.get(start..).filter(|rest| !rest.is_empty())?;
            let end = start + memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let message = data.slice(start..end);
            let position = self.position + start as u64;
            start = end + 1;
            Some(Self {
                origin: Arc::clone(&self.origin),
                position,
                content: Content::Line { message, newline: true, partial: false, omitted: 0 },
                attributes: self.attributes.clone(),
                ..*self
            })
        });
        single.into_iter().chain(lines)
    }

    /// Lines that the record stands for.
    #[must_use]
    pub fn lines(&self) -> u64 {
        match &self.content {
            Content::Line { .. } => 1,
            Content::Lines { count, .. } => u64::from(*count),
            Content::Gap { .. } => 0,
        }
    }
}

/// Bytes of a value, with those that it owns.
fn memory_of(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    size_of::<Value>()
        + match value {
            Value::String(text) => text.len(),
            Value::Array(values) => values.iter().map(memory_of).sum(),
            Value::Object(members) => {
                members.iter().map(|(name, value)| size_of::<String>() + name.len() + memory_of(value)).sum()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}

#[cfg(test)]
impl Record {
    /// The first of a container's standard output.
    pub(crate) fn of(content: Content) -> Self {
        let origin = Arc::new(Origin::new("a".into(), None, Arc::default()));
        Self { origin, stream: Stream::Stdout, timestamp: 0, completed: 0, position: 0, content, attributes: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(content: Content) -> Record {
        let origin = Arc::new(Origin::new("ab".repeat(32).into(), None, Arc::default()));
        Record { origin, stream: Stream::Stdout, timestamp: 7, completed: 0, position: 100, content, attributes: None }
    }

    fn line(message: &'static str, newline: bool, omitted: i64) -> Record {
        record(Content::Line { message: message.into(), newline, partial: false, omitted })
    }

    #[test]
    fn a_gap_and_the_line_after_it_are_two_records() {
        let (gap, line) = (record(Content::Gap { bytes: 5, reason: None }), line("a", true, 0));
        assert_ne!(gap.uid(), line.uid());
        assert_eq!(line.uid(), line.clone().uid());
        // Written down: a receiver compares with what another version of the agent sent.
        assert_eq!(line.uid().to_string(), "0000000000000007e35826aa36503f5b");
    }

    #[test]
    fn a_record_stands_for_its_bytes_in_the_stream_whatever_it_says_now() {
        assert_eq!(line("abc", true, 0).stream_bytes(), 4);
        assert_eq!(line("abc", true, 1).stream_bytes(), 5, "a carriage return was left out");
        assert_eq!(line("[redacted]", false, -7).stream_bytes(), 3, "and here something longer was put in");
    }

    #[test]
    fn what_a_record_holds_counts_what_it_was_read_as() {
        let plain = line("abc", true, 0).memory();
        assert_eq!(plain, size_of::<Record>() as u64 + 3);
        let fields = vec![("k".to_owned(), serde_json::json!({"a": ["x", 1], "b": "yy"}))];
        let attributes = Some(Box::new(Attributes { fields, ..Attributes::default() }));
        let read = Record { attributes, ..line("abc", true, 0) }.memory();
        // Three names, five values, and six bytes of their texts.
        let expected = size_of::<Attributes>() + 3 * size_of::<String>() + 5 * size_of::<serde_json::Value>() + 6;
        assert_eq!(read - plain, expected as u64);
    }
}
