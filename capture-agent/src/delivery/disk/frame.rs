//! Frames: what a segment is a row of.
//!
//! | bytes | field (numbers are little-endian) |
//! |---|---|
//! | 4 | the segment's mark |
//! | 1 | kind: 1 records, 2 what was said of a container |
//! | 3 | zero |
//! | 4 | length of the payload |
//! | 4 | records in it |
//! | 8, 8, 8 | records, lines and bytes of output of all frames before it, in this segment and the earlier ones |
//! | 8, 8 | lines and bytes of output in it |
//! | 4 | CRC-32 of the payload |
//! | 4 | CRC-32 of all before it, begun with the segment's seed |
//!
//! Mark and seed are random and stand in the segment's name: no container can write what would be taken for a frame, and a
//! frame from an earlier file in the same place is none.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use bytes::Bytes;

use super::super::fate::Sum;

/// Bytes before a payload.
pub(super) const HEADER: u64 = 64;

/// A place in all that was ever written to a buffer: records, lines and bytes of output before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) records: u64,
    pub(super) sum: Sum,
}

impl Point {
    pub(super) fn after(self, records: u64, sum: Sum) -> Self {
        let (lines, bytes) = (self.sum.lines.wrapping_add(sum.lines), self.sum.bytes.wrapping_add(sum.bytes));
        Self { records: self.records.wrapping_add(records), sum: Sum { lines, bytes } }
    }

    /// What lies between an earlier place and this one.
    pub(super) fn since(self, earlier: Self) -> Sum {
        Sum {
            lines: self.sum.lines.saturating_sub(earlier.sum.lines),
            bytes: self.sum.bytes.saturating_sub(earlier.sum.bytes),
        }
    }
}

/// What tells the frames of one segment from everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Salt(pub(super) u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Records,
    Definition,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) length: u32,
    pub(super) records: u32,
    pub(super) begin: Point,
    pub(super) sum: Sum,
    payload_crc: u32,
}

impl Salt {
    fn mark(self) -> [u8; 4] {
        ((self.0 >> 32) as u32).to_le_bytes()
    }

    fn seed(self) -> u32 {
        self.0 as u32
    }
}

impl Header {
    /// The place after its frame.
    pub(super) fn end(&self) -> Point {
        self.begin.after(u64::from(self.records), self.sum)
    }

    /// Bytes of its frame.
    pub(super) fn size(&self) -> u64 {
        HEADER + u64::from(self.length)
    }

    fn to_bytes(self, salt: Salt) -> [u8; HEADER as usize] {
        let mut bytes = [0; HEADER as usize];
        bytes[..4].copy_from_slice(&salt.mark());
        bytes[4] = match self.kind {
            Kind::Records => 1,
            Kind::Definition => 2,
        };
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.records.to_le_bytes());
        let numbers = [self.begin.records, self.begin.sum.lines, self.begin.sum.bytes, self.sum.lines, self.sum.bytes];
        for (place, number) in bytes[16..56].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes[56..60].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = header_crc(&bytes, salt);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` for what is no frame of this segment.
    fn from_bytes(bytes: &[u8; HEADER as usize], salt: Salt) -> Option<Self> {
        let small = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let large = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        if bytes[..4] != salt.mark() || small(60)? != header_crc(bytes, salt) {
            return None;
        }
        let kind = match bytes[4] {
            1 => Kind::Records,
            2 => Kind::Definition,
            _ => return None,
        };
        let begin = Point { records: large(16)?, sum: Sum { lines: large(24)?, bytes: large(32)? } };
        let sum = Sum { lines: large(40)?, bytes: large(48)? };
        Some(Self { kind, length: small(8)?, records: small(12)?, begin, sum, payload_crc: small(56)? })
    }
}

fn header_crc(bytes: &[u8; HEADER as usize], salt: Salt) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt.seed());
    hasher.update(&bytes[..60]);
    hasher.finalize()
}

/// Appends a frame; `payload` writes what is in it, and says how many records and what they come to.
pub(super) fn put(
    out: &mut Vec<u8>,
    salt: Salt,
    kind: Kind,
    begin: Point,
    (records, sum): (u32, Sum),
    payload: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.resize(start + HEADER as usize, 0);
    payload(out);
    let payload = &out[start + HEADER as usize..];
    let length = payload.len() as u32;
    let header = Header { kind, length, records, begin, sum, payload_crc: crc32fast::hash(payload) };
    out[start..start + HEADER as usize].copy_from_slice(&header.to_bytes(salt));
}

/// What stands at a place of a segment.
#[derive(Debug)]
pub(super) enum Found {
    Frame(Header, Bytes),
    /// Something else; where the next frame begins, or the end.
    Corrupt(u64),
    End,
}

/// Reads the frame at a place, in a segment of which so many bytes are to be read.
pub(super) fn read(file: &File, at: u64, end: u64, salt: Salt) -> io::Result<Found> {
    if at >= end {
        return Ok(Found::End);
    }
    if let Some((header, payload)) = read_whole(file, at, end, salt)? {
        return Ok(Found::Frame(header, payload));
    }
    let mut rest = vec![0; (end - at - 1) as usize];
    file.read_exact_at(&mut rest, at + 1)?;
    let mark = salt.mark();
    for offset in memchr::memmem::find_iter(&rest, &mark) {
        let place = at + 1 + offset as u64;
        if read_whole(file, place, end, salt)?.is_some() {
            return Ok(Found::Corrupt(place));
        }
    }
    Ok(Found::Corrupt(end))
}

/// The header alone, if it is one.
pub(super) fn read_header(file: &File, at: u64, end: u64, salt: Salt) -> io::Result<Option<Header>> {
    if end.saturating_sub(at) < HEADER {
        return Ok(None);
    }
    let mut bytes = [0; HEADER as usize];
    file.read_exact_at(&mut bytes, at)?;
    Ok(Header::from_bytes(&bytes, salt).filter(|header| header.size() <= end - at))
}

fn read_whole(file: &File, at: u64, end: u64, salt: Salt) -> io::Result<Option<(Header, Bytes)>> {
    let Some(header) = read_header(file, at, end, salt)? else { return Ok(None) };
    let mut payload = vec![0; header.length as usize];
    file.read_exact_at(&mut payload, at + HEADER)?;
    let is_whole = crc32fast::hash(&payload) == header.payload_crc;
    Ok(is_whole.then(|| (header, payload.into())))
}
