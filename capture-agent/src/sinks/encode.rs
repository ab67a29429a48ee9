//! Records into bytes.

use std::io::{self, Write};

use capture_common::Stream;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::json;
use crate::pipeline::record::{Content, Origin, Record};

/// How a record is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// One JSON object a line.
    #[default]
    Json,
    /// `name stream | line`.
    Text,
    /// The container's bytes, exactly.
    Raw,
}

/// Writes records in one encoding.
#[derive(Debug)]
pub struct Encoder {
    encoding: Encoding,
    color: bool,
    host: String,
    gap_marker: String,
    clock: TimestampCache,
    /// What stands before the message of each of several lines.
    head: Vec<u8>,
}

impl Encoder {
    /// `host` is the value of the field of that name; `color` marks names and stderr in [`Encoding::Text`].
    #[must_use]
    pub fn new(encoding: Encoding, host: String, color: bool) -> Self {
        Self {
            encoding,
            color,
            host,
            gap_marker: DEFAULT_GAP_MARKER.to_owned(),
            clock: TimestampCache::default(),
            head: Vec::new(),
        }
    }

    /// What stands in place of missing bytes in [`Encoding::Raw`]; `{bytes}` and `{reason}` are replaced.
    #[must_use]
    pub fn gap_marker(self, gap_marker: String) -> Self {
        Self { gap_marker, ..self }
    }

    /// Appends one record to `out`.
    pub fn encode(&mut self, record: &Record, out: &mut Vec<u8>) {
        // Writing to a vector cannot fail.
        let _ = match self.encoding {
            Encoding::Json => self.json(record, out),
            Encoding::Text => self.text(record, out),
            Encoding::Raw => self.raw(record, out),
        };
    }

    fn json(&mut self, record: &Record, out: &mut Vec<u8>) -> io::Result<()> {
        if let Content::Lines { data, count } = &record.content {
            self.json_lines(record, data, *count, out);
            return Ok(());
        }
        let tail = record.origin.rendered.get_or_init(|| json_tail(&record.origin, &self.host));
        out.reserve(record.stream_bytes() as usize + JSON_FIXED + tail.len());
        out.extend_from_slice(b"{\"timestamp\":\"");
        self.clock.write(record.timestamp, out);
        out.extend_from_slice(b"\",\"message\":");
        match &record.content {
            Content::Line { message, partial, .. } => {
                json::string(message, out);
                if *partial {
                    out.extend_from_slice(b",\"_partial\":true");
                }
            }
            Content::Lines { .. } => {}
            Content::Gap { bytes, reason } => {
                json::string(gap(record, DEFAULT_GAP_MARKER).trim_end().as_bytes(), out);
                write!(out, ",\"lost_bytes\":{bytes}")?;
                if let Some(reason) = reason {
                    write!(out, ",\"lost_reason\":\"{reason}\"")?;
                }
            }
        }
        out.extend_from_slice(json_stream(record.stream));
        out.extend_from_slice(tail);
        Ok(())
    }

    /// Lines that differ in their message only: what stands before it and after it is rendered once.
    fn json_lines(&mut self, record: &Record, data: &[u8], count: u32, out: &mut Vec<u8>) {
        let tail = record.origin.rendered.get_or_init(|| json_tail(&record.origin, &self.host));
        self.head.clear();
        self.head.extend_from_slice(b"{\"timestamp\":\"");
        self.clock.write(record.timestamp, &mut self.head);
        self.head.extend_from_slice(b"\",\"message\":");
        let stream = json_stream(record.stream);
        out.reserve(data.len() + count as usize * (self.head.len() + stream.len() + tail.len() + 2));
        for line in each_line(data) {
            out.extend_from_slice(&self.head);
            json::string(line, out);
            out.extend_from_slice(stream);
            out.extend_from_slice(tail);
        }
    }

    fn text(&mut self, record: &Record, out: &mut Vec<u8>) -> io::Result<()> {
        match &record.content {
            Content::Line { message, .. } => self.text_line(record, message, out),
            Content::Lines { data, .. } => each_line(data).try_for_each(|line| self.text_line(record, line, out)),
            Content::Gap { .. } => self.text_line(record, gap(record, DEFAULT_GAP_MARKER).trim_end().as_bytes(), out),
        }
    }

    fn text_line(&self, record: &Record, line: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let (name, stream) = (record.origin.name(), record.stream.as_str());
        if self.color {
            // One of the six bright hues for each name, and red for stderr.
            let hue = 31 + name.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte))) % 6;
            let mark = if stream == "stderr" { 31 } else { 90 };
            write!(out, "\x1b[1;{hue}m{name}\x1b[0m \x1b[{mark}m{stream}\x1b[0m | ")?;
        } else {
            write!(out, "{name} {stream} | ")?;
        }
        out.write_all(line)?;
        out.write_all(b"\n")
    }

    fn raw(&self, record: &Record, out: &mut Vec<u8>) -> io::Result<()> {
        match &record.content {
            Content::Line { message, newline, .. } => {
                out.write_all(message)?;
                if *newline { out.write_all(b"\n") } else { Ok(()) }
            }
            Content::Lines { data, .. } => out.write_all(data),
            Content::Gap { .. } => out.write_all(gap(record, &self.gap_marker).as_bytes()),
        }
    }
}

/// The lines of a record of several, without their newlines.
fn each_line(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr::memchr_iter(b'\n', data).map(move |newline| {
        let line = &data[start..newline];
        start = newline + 1;
        line
    })
}

fn json_stream(stream: Stream) -> &'static [u8] {
    match stream {
        Stream::Stdout => b",\"stream\":\"stdout\"",
        Stream::Stderr => b",\"stream\":\"stderr\"",
    }
}

/// What stands in place of missing bytes, unless something else is asked for.
pub const DEFAULT_GAP_MARKER: &str = "[capture-agent: {bytes} bytes of output are missing here: {reason}]\n";

fn gap(record: &Record, marker: &str) -> String {
    match &record.content {
        Content::Gap { bytes, reason } => {
            let reason = reason.unwrap_or("several reasons");
            marker.replace("{bytes}", &bytes.to_string()).replace("{reason}", reason)
        }
        Content::Line { .. } | Content::Lines { .. } => String::new(),
    }
}

/// What a JSON record has besides its message and what its origin renders.
const JSON_FIXED: usize = 120;

/// Everything after `stream`, which is the same for all records of an origin.
fn json_tail(origin: &Origin, host: &str) -> Vec<u8> {
    let mut out = Vec::new();
    json_field("container_id", &origin.container_id, &mut out);
    if let Some(metadata) = &origin.metadata {
        json_field("container_name", &metadata.name, &mut out);
        json_field("image", &metadata.image, &mut out);
        out.extend_from_slice(b",\"label\":");
        // Writing to a vector cannot fail, and text has a place in JSON.
        let _ = serde_json::to_writer(&mut out, &metadata.labels);
    }
    json_field("host", host, &mut out);
    json_field("source_type", "ebpf", &mut out);
    out.extend_from_slice(b"}\n");
    out
}

fn json_field(name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(b',');
    json::string(name.as_bytes(), out);
    out.push(b':');
    json::string(value.as_bytes(), out);
}

/// RFC 3339 timestamps; the part up to the second is rendered once a second.
#[derive(Debug, Default)]
struct TimestampCache {
    second: Option<i64>,
    text: String,
}

impl TimestampCache {
    fn write(&mut self, nanoseconds: i64, out: &mut Vec<u8>) {
        let (second, rest) = (nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000));
        if self.second != Some(second) {
            self.second = Some(second);
            let text = Timestamp::from_second(second).unwrap_or_default().to_string();
            text.trim_end_matches('Z').clone_into(&mut self.text);
        }
        out.extend_from_slice(self.text.as_bytes());
        out.push(b'.');
        out.extend_from_slice(&json::nanoseconds(rest));
        out.push(b'Z');
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use bytes::Bytes;
    use capture_common::Stream;

    use super::*;
    use crate::containers::directory::Metadata;
    use crate::pipeline::record::Account;

    fn record(content: Content) -> Record {
        let metadata = Metadata {
            id: "ab".repeat(32),
            name: "web".to_owned(),
            image: "nginx:1".to_owned(),
            labels: BTreeMap::from([("team".to_owned(), "a \"b\"".to_owned())]),
        };
        let origin = Origin::new("ab".repeat(32).into(), Some(Arc::new(metadata)), Arc::new(Account::default()));
        Record {
            origin: Arc::new(origin),
            stream: Stream::Stderr,
            timestamp: 1_700_000_000_000_000_042,
            completed: 0,
            position: 0,
            content,
            attributes: None,
        }
    }

    fn line(message: &'static [u8], newline: bool, partial: bool) -> Record {
        record(Content::Line { message: Bytes::from_static(message), newline, partial, omitted: 0 })
    }

    fn encode(encoding: Encoding, record: &Record) -> Vec<u8> {
        let mut out = Vec::new();
        Encoder::new(encoding, "host-1".to_owned(), false).encode(record, &mut out);
        out
    }

    #[test]
    fn json_has_the_fields_of_docker_logs() {
        let text = encode(Encoding::Json, &line(b"a\t\"\xff", true, false));
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "timestamp": "2023-11-14T22:13:20.000000042Z", "message": "a\t\"\u{fffd}", "stream": "stderr",
                "container_id": "ab".repeat(32), "container_name": "web", "image": "nginx:1",
                "label": {"team": "a \"b\""}, "host": "host-1", "source_type": "ebpf",
            })
        );
        assert_eq!(memchr::memchr_iter(b'\n', &text).count(), 1);
    }

    #[test]
    fn lines_of_one_write_are_as_each_by_itself() {
        let messages = ["first", "", "with \"quotes\""];
        let data = messages.map(|message| format!("{message}\n")).concat();
        let together = record(Content::Lines { data: data.into(), count: 3 });
        assert_eq!(together.lines(), 3);
        for encoding in [Encoding::Json, Encoding::Text, Encoding::Raw] {
            let apart: Vec<u8> =
                messages.iter().flat_map(|message| encode(encoding, &line(message.as_bytes(), true, false))).collect();
            assert_eq!(encode(encoding, &together), apart, "{encoding:?}");
        }
    }

    #[test]
    fn json_marks_pieces_and_gaps() {
        let piece: serde_json::Value =
            serde_json::from_slice(&encode(Encoding::Json, &line(b"a", false, true))).unwrap();
        assert_eq!(piece["_partial"], true);
        let gap = record(Content::Gap { bytes: 7, reason: Some("ring_full") });
        let gap: serde_json::Value = serde_json::from_slice(&encode(Encoding::Json, &gap)).unwrap();
        assert_eq!((&gap["lost_bytes"], &gap["lost_reason"]), (&7.into(), &"ring_full".into()));
    }

    #[test]
    fn raw_is_exact() {
        assert_eq!(encode(Encoding::Raw, &line(b"a\xff\0", true, false)), b"a\xff\0\n");
        assert_eq!(encode(Encoding::Raw, &line(b"a", false, false)), b"a");
        let gap = record(Content::Gap { bytes: 7, reason: Some("ring_full") });
        assert!(encode(Encoding::Raw, &gap).ends_with(b"7 bytes of output are missing here: ring_full]\n"));
        let mut out = Vec::new();
        Encoder::new(Encoding::Raw, String::new(), false)
            .gap_marker("<{bytes} {reason}>".to_owned())
            .encode(&gap, &mut out);
        assert_eq!(out, b"<7 ring_full>");
    }

    #[test]
    fn text_names_the_container_and_the_stream() {
        assert_eq!(encode(Encoding::Text, &line(b"hello", false, false)), b"web stderr | hello\n");
    }

    #[test]
    fn an_unknown_container_goes_by_its_id() {
        let origin = Origin::new("cd".repeat(32).into(), None, Arc::new(Account::default()));
        let record = Record { origin: Arc::new(origin), ..line(b"x", true, false) };
        let value: serde_json::Value = serde_json::from_slice(&encode(Encoding::Json, &record)).unwrap();
        assert_eq!((value["container_id"].as_str(), value.get("container_name")), (Some(&*"cd".repeat(32)), None));
        assert_eq!(encode(Encoding::Text, &record), format!("{} stderr | x\n", "cd".repeat(32)).into_bytes());
    }
}
