//! Lines that are held because others may belong to them.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::pipeline::record::{Content, Record};

/// Lines that may belong to an event, if one comes that does.
const MOST_UNSURE: usize = 32;
/// An event that grows slowly is given out after so many times the pause that it may make.
const PATIENCE: u32 = 8;

/// A message of so many bytes is most of the memory that it is a slice of.
const LARGE: usize = 64 << 10;

/// A record with its place among those of its container.
pub(super) type Placed = (u64, Record);

/// The event that a stream is in.
#[derive(Debug)]
pub(super) struct Group {
    parts: Vec<Placed>,
    /// How many of the parts belong to the event; the others may.
    sure: usize,
    /// How many of the parts have memory of their own.
    detached: usize,
    /// Of all messages.
    bytes: u64,
    since: Instant,
    last: Instant,
}

impl Group {
    pub(super) fn new(part: Placed, now: Instant) -> Self {
        let bytes = length(&part.1);
        Self { parts: vec![part], sure: 1, detached: 0, bytes, since: now, last: now }
    }

    /// Place of its first line.
    pub(super) fn place(&self) -> u64 {
        self.parts.first().map_or(u64::MAX, |(place, _)| *place)
    }

    pub(super) fn has_room(&self, record: &Record, max_bytes: u64) -> bool {
        self.bytes + length(record) <= max_bytes
    }

    /// Whether there may be another line that may belong to it.
    pub(super) fn may_be_unsure(&self) -> bool {
        self.parts.len() - self.sure < MOST_UNSURE
    }

    /// Whether a record was written so long after the last line that it is another event.
    pub(super) fn is_older_than(&self, record: &Record, timeout: Duration) -> bool {
        let last = self.parts.last().map_or(0, |(_, part)| part.completed);
        record.completed.saturating_sub(last) > timeout.as_nanos() as u64
    }

    /// Adds a line that belongs to it, and with it those that may.
    pub(super) fn add(&mut self, part: Placed, now: Instant) {
        self.add_unsure(part, now);
        self.sure = self.parts.len();
    }

    /// Adds a line that belongs to it if one does that comes.
    pub(super) fn add_unsure(&mut self, part: Placed, now: Instant) {
        self.bytes += length(&part.1);
        self.last = now;
        self.parts.push(part);
    }

    /// Adds a piece of its last line.
    pub(super) fn add_piece(&mut self, part: Placed, now: Instant) {
        let is_sure = self.sure == self.parts.len();
        self.add_unsure(part, now);
        if is_sure {
            self.sure = self.parts.len();
        }
    }

    /// Gives what is held memory of its own. Until then a short line keeps all of the reader's memory that it is a slice
    /// of, and with it what others wrote at that time.
    pub(super) fn detach(&mut self) {
        for (_, part) in &mut self.parts[self.detached..] {
            if let Content::Line { message, .. } = &mut part.content
                && message.len() < LARGE
            {
                *message = Bytes::copy_from_slice(message);
            }
        }
        self.detached = self.parts.len();
    }

    pub(super) fn deadline(&self, timeout: Duration) -> Instant {
        (self.last + timeout).min(self.since + PATIENCE * timeout)
    }

    /// What belongs together as one record, and the rest as it came. `goes_on` where the event does.
    pub(super) fn give_out(mut self, goes_on: bool) -> impl Iterator<Item = Placed> {
        if goes_on {
            self.sure = self.parts.len();
        }
        let rest = self.parts.split_off(self.sure);
        merge(self.parts, goes_on).into_iter().chain(rest)
    }
}

fn length(record: &Record) -> u64 {
    match &record.content {
        Content::Line { message, newline, .. } => message.len() as u64 + u64::from(*newline),
        Content::Lines { data, .. } => data.len() as u64,
        Content::Gap { .. } => 0,
    }
}

/// One record of several, with the identity of the first. Newlines between them become part of the message.
fn merge(parts: Vec<Placed>, goes_on: bool) -> Option<Placed> {
    let length: u64 = parts.iter().map(|(_, part)| length(part)).sum();
    let count = parts.len();
    let mut parts = parts.into_iter();
    let (place, mut first) = parts.next()?;
    if let Content::Line { message, newline, partial, omitted } = &mut first.content {
        *partial |= goes_on;
        if count == 1 {
            return Some((place, first));
        }
        let mut joined = BytesMut::with_capacity(length as usize);
        joined.extend_from_slice(message);
        for (_, part) in parts {
            let Content::Line { message: more, newline: ends, partial: has_more, omitted: without } = part.content
            else {
                continue;
            };
            if *newline {
                joined.extend_from_slice(b"\n");
            }
            joined.extend_from_slice(&more);
            (*newline, *partial) = (ends, has_more || goes_on);
            *omitted += without;
            first.completed = part.completed;
            // What is known of the container by now.
            first.origin = part.origin;
        }
        *message = Bytes::from(joined);
    }
    Some((place, first))
}
