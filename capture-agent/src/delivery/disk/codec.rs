//! Records in a frame.
//!
//! A frame begins with a table of its containers: their number, then for each the number of what was said of it (see
//! `origins.rs`) and its id, as a zero and 32 bytes where it is 64 hexadecimal digits, or as a one and a text. The records
//! follow; of each, numbers are differences to what they would be if it followed the record before it:
//!
//! | field | |
//! |---|---|
//! | flags | a byte, see the constants |
//! | container | its place in the table, where it is another than before |
//! | timestamp, completed | signed, to those of the record before |
//! | position | signed, to the end of the record before it of this container and stream |
//! | omitted, message | of a line |
//! | bytes, reason | of a gap; a text each |
//! | attributes | level, then writer, then fields; each where the flags byte of the attributes says so |

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use capture_common::Stream;

use super::origins::{Accounts, Definitions, Origins};
use super::wire::{Input, Malformed, put_bytes, put_number, put_signed};
use super::{intern, value};
use crate::containers::directory::Metadata;
use crate::pipeline::record::{Attributes, Content, Level, Origin, Record, Writer};

const STDERR: u8 = 1;
const GAP: u8 = 1 << 1;
const NEWLINE: u8 = 1 << 2;
const PARTIAL: u8 = 1 << 3;
const OMITTED: u8 = 1 << 4;
/// Of a gap: there is one reason.
const REASON: u8 = NEWLINE;
const ATTRIBUTES: u8 = 1 << 5;
const OTHER_CONTAINER: u8 = 1 << 6;

const LEVEL: u8 = 1;
const WRITER: u8 = 1 << 1;
const FIELDS: u8 = 1 << 2;

const LEVELS: [Level; 6] = [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Fatal];

fn flag(flag: u8, is: bool) -> u8 {
    if is { flag } else { 0 }
}

/// What the numbers of the next record are differences to.
#[derive(Default)]
struct Before {
    container: u32,
    timestamp: i64,
    completed: u64,
    /// By place in the table and stream.
    ends: HashMap<(u32, u8), u64>,
}

impl Before {
    fn end(&mut self, container: u32, stream: Stream) -> &mut u64 {
        self.ends.entry((container, stream as u8)).or_default()
    }
}

/// Writes records. `define` is called with what was said of a container and has no number in the segment yet.
pub(super) fn put_records(
    out: &mut Vec<u8>,
    records: &[Record],
    definitions: &mut Definitions,
    mut define: impl FnMut(u32, &Origin, Option<&Arc<Metadata>>),
) {
    let mut table: HashMap<usize, u32> = HashMap::new();
    let mut origins: Vec<(u32, &Origin)> = Vec::new();
    for run in records.chunk_by(|a, b| Arc::ptr_eq(&a.origin, &b.origin)) {
        let origin = &run[0].origin;
        table.entry(Arc::as_ptr(origin).addr()).or_insert_with(|| {
            let metadata = origin.metadata.as_ref();
            let (number, is_new) = definitions.number(metadata);
            define(number, origin, metadata.filter(|_| is_new));
            origins.push((number, origin));
            origins.len() as u32 - 1
        });
    }
    put_number(out, origins.len() as u64);
    for (number, origin) in origins {
        put_number(out, u64::from(number));
        put_id(out, &origin.container_id);
    }
    let mut before = Before::default();
    for run in records.chunk_by(|a, b| Arc::ptr_eq(&a.origin, &b.origin)) {
        let container = table.get(&Arc::as_ptr(&run[0].origin).addr()).copied().unwrap_or_default();
        for record in run {
            put_record(out, record, container, &mut before);
        }
    }
}

fn put_record(out: &mut Vec<u8>, record: &Record, container: u32, before: &mut Before) {
    // Without `..`, here and below, so that a new field is not forgotten.
    let Record { origin: _, stream, timestamp, completed, position, content, attributes } = record;
    let mut flags = flag(STDERR, *stream == Stream::Stderr);
    flags |= match content {
        Content::Line { message: _, newline, partial, omitted } => {
            flag(NEWLINE, *newline) | flag(PARTIAL, *partial) | flag(OMITTED, *omitted != 0)
        }
        // The fan-out takes lines apart before a disk; should any come, no byte of them is lost.
        Content::Lines { .. } => NEWLINE,
        Content::Gap { bytes: _, reason } => GAP | flag(REASON, reason.is_some()),
    };
    flags |= flag(ATTRIBUTES, attributes.is_some());
    flags |= flag(OTHER_CONTAINER, container != before.container);
    out.push(flags);
    if container != before.container {
        put_number(out, u64::from(container));
    }
    put_signed(out, timestamp.wrapping_sub(before.timestamp));
    put_signed(out, completed.wrapping_sub(before.completed).cast_signed());
    let end = before.end(container, *stream);
    put_signed(out, position.wrapping_sub(*end).cast_signed());
    *end = position.wrapping_add(record.stream_bytes());
    (before.container, before.timestamp, before.completed) = (container, *timestamp, *completed);
    match content {
        Content::Line { message, newline: _, partial: _, omitted } => {
            if *omitted != 0 {
                put_signed(out, *omitted);
            }
            put_bytes(out, message);
        }
        Content::Lines { data, .. } => put_bytes(out, data.strip_suffix(b"\n").unwrap_or(data)),
        Content::Gap { bytes, reason } => {
            put_number(out, *bytes);
            if let Some(reason) = reason {
                put_bytes(out, reason.as_bytes());
            }
        }
    }
    if let Some(attributes) = attributes {
        put_attributes(out, attributes);
    }
}

fn put_attributes(out: &mut Vec<u8>, attributes: &Attributes) {
    let Attributes { level, fields, writer } = attributes;
    out.push(flag(LEVEL, level.is_some()) | flag(WRITER, writer.is_some()) | flag(FIELDS, !fields.is_empty()));
    if let Some(level) = level {
        out.push(*level as u8);
    }
    if let Some(Writer { pid, uid, comm }) = writer {
        put_number(out, u64::from(*pid));
        put_number(out, u64::from(*uid));
        out.extend_from_slice(comm);
    }
    if !fields.is_empty() {
        put_number(out, fields.len() as u64);
        for (key, value) in fields {
            put_bytes(out, key.as_bytes());
            value::put(out, value);
        }
    }
}

/// Reads records.
pub(super) fn get_records(
    payload: Bytes,
    count: u32,
    origins: &mut Origins,
    accounts: &Accounts,
) -> Result<Vec<Record>, Malformed> {
    let mut input = Input::new(payload);
    let mut table = Vec::new();
    for _ in 0..input.number()? {
        let number = input.small()?;
        let id = get_id(&mut input)?;
        table.push(origins.get(&id, number, accounts));
    }
    let mut before = Before::default();
    let records = (0..count).map(|_| get_record(&mut input, &table, &mut before)).collect::<Result<_, _>>()?;
    if input.is_empty() { Ok(records) } else { Err(Malformed) }
}

fn get_record(input: &mut Input, table: &[Arc<Origin>], before: &mut Before) -> Result<Record, Malformed> {
    let flags = input.byte()?;
    let is = |flag: u8| flags & flag != 0;
    let container = if is(OTHER_CONTAINER) { input.small()? } else { before.container };
    let stream = if is(STDERR) { Stream::Stderr } else { Stream::Stdout };
    let timestamp = before.timestamp.wrapping_add(input.signed()?);
    let completed = before.completed.wrapping_add_signed(input.signed()?);
    let position = before.end(container, stream).wrapping_add_signed(input.signed()?);
    let content = if is(GAP) {
        let bytes = input.number()?;
        let reason = if is(REASON) { Some(intern::reason(&input.text()?)) } else { None };
        Content::Gap { bytes, reason }
    } else {
        let omitted = if is(OMITTED) { input.signed()? } else { 0 };
        Content::Line { message: input.bytes()?, newline: is(NEWLINE), partial: is(PARTIAL), omitted }
    };
    let attributes = if is(ATTRIBUTES) { Some(Box::new(get_attributes(input)?)) } else { None };
    let origin = Arc::clone(table.get(container as usize).ok_or(Malformed)?);
    let record = Record { origin, stream, timestamp, completed, position, content, attributes };
    *before.end(container, stream) = position.wrapping_add(record.stream_bytes());
    (before.container, before.timestamp, before.completed) = (container, timestamp, completed);
    Ok(record)
}

fn get_attributes(input: &mut Input) -> Result<Attributes, Malformed> {
    let flags = input.byte()?;
    let mut attributes = Attributes::default();
    if flags & LEVEL != 0 {
        attributes.level = Some(*LEVELS.get(usize::from(input.byte()?)).ok_or(Malformed)?);
    }
    if flags & WRITER != 0 {
        let (pid, uid) = (input.small()?, input.small()?);
        let comm = input.exact(16)?[..].try_into().map_err(|_| Malformed)?;
        attributes.writer = Some(Writer { pid, uid, comm });
    }
    if flags & FIELDS != 0 {
        for _ in 0..input.number()? {
            attributes.fields.push((input.text()?, value::get(input)?));
        }
    }
    Ok(attributes)
}

fn put_id(out: &mut Vec<u8>, id: &str) {
    if let Some(bytes) = from_hex(id) {
        out.push(0);
        out.extend_from_slice(&bytes);
    } else {
        out.push(1);
        put_bytes(out, id.as_bytes());
    }
}

fn get_id(input: &mut Input) -> Result<Arc<str>, Malformed> {
    match input.byte()? {
        0 => {
            let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
            let bytes = input.exact(32)?;
            Ok(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect::<String>().into())
        }
        1 => Ok(input.text()?.into()),
        _ => Err(Malformed),
    }
}

/// 64 lower-case hexadecimal digits as bytes.
fn from_hex(id: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = id.as_bytes().try_into().ok()?;
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
