//! Records into bytes.

pub(super) mod attributes;

use std::io::{self, Write};

use capture_common::Stream;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{json, logfmt};
use crate::pipeline::record::{Attributes, Content, Origin, Record};

/// Bytes that are encoded before they are written to standard output: still in the processor's cache as the kernel copies them.
pub(super) const PIECE: usize = 256 << 10;

/// How a record is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// One JSON object a line.
    #[default]
    Json,
    /// `name stream | line`.
    Text,
    /// `key=value` pairs, one line for each record.
    Logfmt,
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
    /// What stands between the messages of several lines, from one's quote to the other's.
    between: Vec<u8>,
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
            between: Vec::new(),
        }
    }

    /// What stands in place of missing bytes in [`Encoding::Raw`]; `{bytes}` and `{reason}` are replaced.
    #[must_use]
    pub fn gap_marker(self, gap_marker: String) -> Self {
        Self { gap_marker, ..self }
    }

    /// What [`encode`](Self::encode) would append, where the record holds it already.
    #[must_use]
    pub fn as_it_is<'a>(&self, record: &'a Record) -> Option<&'a [u8]> {
        match (self.encoding, &record.content) {
            (Encoding::Raw, Content::Lines { data, .. }) => Some(data),
            _ => None,
        }
    }

    /// Appends one record to `out`.
    pub fn encode(&mut self, record: &Record, out: &mut Vec<u8>) {
        // Writing to a vector cannot fail.
        let _ = match self.encoding {
            Encoding::Json => self.json(record, out),
            Encoding::Text => self.text(record, out),
            Encoding::Logfmt => self.logfmt(record, out),
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
                let is_text = json::string(text_of(record, message), out);
                if *partial {
                    out.extend_from_slice(b",\"_partial\":true");
                }
                if !is_text {
                    out.extend_from_slice(b",\"_invalid_utf8\":true");
                }
            }
            Content::Lines { .. } => {}
            Content::Gap { bytes, reason } => {
                json::string(gap_text(record).as_bytes(), out);
                write!(out, ",\"lost_bytes\":{bytes}")?;
                if let Some(reason) = reason {
                    write!(out, ",\"lost_reason\":\"{reason}\"")?;
                }
            }
        }
        if let Some(attributes) = &record.attributes {
            attributes::json(attributes, out)?;
        }
        out.extend_from_slice(json_stream(record.stream));
        out.extend_from_slice(tail);
        Ok(())
    }

    /// Lines that differ in their message only: what stands between two messages is rendered once.
    fn json_lines(&mut self, record: &Record, data: &[u8], count: u32, out: &mut Vec<u8>) {
        let tail = record.origin.rendered.get_or_init(|| json_tail(&record.origin, &self.host));
        let stream = json_stream(record.stream);
        self.between.clear();
        self.between.extend_from_slice(b"\"");
        self.between.extend_from_slice(stream);
        self.between.extend_from_slice(tail);
        let end = self.between.len();
        self.between.extend_from_slice(b"{\"timestamp\":\"");
        self.clock.write(record.timestamp, &mut self.between);
        self.between.extend_from_slice(b"\",\"message\":\"");
        out.reserve(data.len() + count as usize * self.between.len());
        let (last, head) = self.between.split_at(end);
        let mut rest = data;
        // Lines that are looked at by themselves before the next look at many: where one has something to escape, so often have others.
        let mut apart = 1;
        loop {
            let mut before = head;
            let plain = json::plain_lines(rest, |line| {
                out.extend_from_slice(before);
                out.extend_from_slice(line);
                before = &self.between;
            });
            rest = &rest[plain..];
            if plain > 0 {
                out.extend_from_slice(last);
                apart = 1;
            }
            let mut length = 0;
            for line in each_line(rest).take(apart) {
                length += line.len() + 1;
                // Such a line brings its own quotes.
                out.extend_from_slice(&head[..head.len() - 1]);
                if !json::string(line, out) {
                    out.extend_from_slice(b",\"_invalid_utf8\":true");
                }
                out.extend_from_slice(&last[1..]);
            }
            if length == 0 {
                return;
            }
            rest = &rest[length..];
            apart *= 2;
        }
    }

    fn text(&mut self, record: &Record, out: &mut Vec<u8>) -> io::Result<()> {
        match &record.content {
            Content::Line { message, .. } => self.text_line(record, message, out),
            Content::Lines { data, .. } => each_line(data).try_for_each(|line| self.text_line(record, line, out)),
            Content::Gap { .. } => self.text_line(record, gap_text(record).as_bytes(), out),
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

    fn logfmt(&mut self, record: &Record, out: &mut Vec<u8>) -> io::Result<()> {
        if let Content::Lines { .. } = &record.content {
            return record.lines_apart().try_for_each(|line| self.logfmt(&line, out));
        }
        let origin = record.origin.rendered_logfmt.get_or_init(|| logfmt_origin(&record.origin, &self.host));
        out.extend_from_slice(b"timestamp=");
        self.clock.write(record.timestamp, out);
        if let Some(level) = record.attributes.as_ref().and_then(|attributes| attributes.level) {
            logfmt::pair("level", level.as_str().as_bytes(), out);
        }
        logfmt::pair("stream", record.stream.as_str().as_bytes(), out);
        out.extend_from_slice(origin);
        match &record.content {
            Content::Line { message, partial, .. } => {
                if *partial {
                    out.extend_from_slice(b" _partial=true");
                }
                if !logfmt::pair("message", text_of(record, message), out) {
                    out.extend_from_slice(b" _invalid_utf8=true");
                }
            }
            Content::Lines { .. } => {}
            Content::Gap { bytes, reason } => {
                write!(out, " lost_bytes={bytes}")?;
                if let Some(reason) = reason {
                    write!(out, " lost_reason={reason}")?;
                }
                logfmt::pair("message", gap_text(record).as_bytes(), out);
            }
        }
        if let Some(attributes) = &record.attributes {
            attributes::logfmt(attributes, out)?;
        }
        out.push(b'\n');
        Ok(())
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

/// What stands in place of missing bytes where it has a line or a message of its own; empty for a line.
#[must_use]
pub fn gap_text(record: &Record) -> String {
    gap(record, DEFAULT_GAP_MARKER).trim_end().to_owned()
}

/// What a record says, where its fields have a place of their own: the text among them, or else the line.
pub(super) fn text_of<'a>(record: &'a Record, line: &'a [u8]) -> &'a [u8] {
    record.attributes.as_deref().and_then(Attributes::message).map_or(line, str::as_bytes)
}

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

/// What is the same for all records of an origin.
fn logfmt_origin(origin: &Origin, host: &str) -> Vec<u8> {
    // Hexadecimal digits need no quotes.
    let mut out = b" container_id=".to_vec();
    out.extend_from_slice(origin.container_id.as_bytes());
    if let Some(metadata) = &origin.metadata {
        logfmt::pair("container_name", metadata.name.as_bytes(), &mut out);
        logfmt::pair("image", metadata.image.as_bytes(), &mut out);
    }
    logfmt::pair("host", host.as_bytes(), &mut out);
    out
}

fn json_field(name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(b',');
    json::string(name.as_bytes(), out);
    out.push(b':');
    json::string(value.as_bytes(), out);
}

/// Length of `2023-11-14T22:13:20.000000042Z`: nanoseconds in 64 bits reach from the year 1677 to 2262.
const TIMESTAMP: usize = 30;
/// Where its digits begin that are parts of a second.
const FRACTION: usize = 20;

/// RFC 3339 timestamps; the part up to the second is rendered once a second.
#[derive(Debug)]
struct TimestampCache {
    second: Option<i64>,
    text: [u8; TIMESTAMP],
}

impl Default for TimestampCache {
    fn default() -> Self {
        Self { second: None, text: *b"1970-01-01T00:00:00.000000000Z" }
    }
}

impl TimestampCache {
    fn write(&mut self, nanoseconds: i64, out: &mut Vec<u8>) {
        let (second, rest) = (nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000));
        if self.second != Some(second) {
            self.second = Some(second);
            let text = Timestamp::from_second(second).unwrap_or_default().to_string();
            self.text[..FRACTION - 1].copy_from_slice(&text.as_bytes()[..FRACTION - 1]);
        }
        self.text[FRACTION..TIMESTAMP - 1].copy_from_slice(&json::nanoseconds(rest));
        out.extend_from_slice(&self.text);
    }
}

#[cfg(test)]
mod tests;
