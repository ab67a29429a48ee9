//! Container × stream: put chunks in order, frame them into lines, settle the accounts.

mod arena;
mod consumed;
mod copy;
pub mod framing;
pub mod ledger;
mod lifecycle;
mod naming;
mod order;
mod pace;
pub mod positions;
mod reader;
mod rotation;
pub mod state;
mod stream;
pub mod totals;
mod wakeup;

pub use reader::{Reader, ReaderConfig, StopReader};

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use capture_common::{ContainerSlot, LostReason, Stream};

use crate::kernel::{self, WallClock};
use crate::pipeline::record::{Account, Attributes, Content, Origin, Record, Writer};
use framing::{Framed, Framer, Line};
use ledger::Ledger;
use naming::Held;
use order::{Chunk, Step};
use rotation::Rotation;
use stream::{StreamSession, lost, settled, single_reason};
use totals::SessionError;

/// One container's capture, from the first sight of its slot to its end.
struct Session {
    generation: u32,
    origin: Arc<Origin>,
    /// Records that wait for the name; `None` once it is known, or was waited for in vain.
    held: Option<Held>,
    streams: [StreamSession; 2],
    rotation: Rotation,
    /// When it was first looked at after the container's end.
    ended: Option<Instant>,
}

impl Session {
    fn open(
        slot: &ContainerSlot,
        id: Arc<str>,
        account: Arc<Account>,
        max_line: usize,
        rotation: Rotation,
        now: Instant,
    ) -> Self {
        Self {
            generation: slot.generation.load(Relaxed) as u32,
            origin: Arc::new(Origin::new(id, None, account)),
            held: Some(Held::new(now)),
            streams: [StreamSession::new(max_line), StreamSession::new(max_line)],
            rotation,
            ended: None,
        }
    }

    /// How long its container has been gone.
    fn ended_for(&mut self, now: Instant) -> Duration {
        now.saturating_duration_since(*self.ended.get_or_insert(now))
    }

    fn is_being_sealed(&self) -> bool {
        self.streams.iter().any(|stream| stream.seal.is_some())
    }

    fn id(&self) -> &Arc<str> {
        &self.origin.container_id
    }

    /// Everything that the kernel side has counted by now is in records, or in one that has no newline yet.
    fn is_up_to_date(&self, slot: &ContainerSlot) -> bool {
        let mut streams = self.streams.iter().zip(&slot.streams);
        streams.all(|(state, counters)| stream::written(counters) == state.order.position())
    }

    /// Takes the payload of one record.
    #[expect(clippy::too_many_arguments, reason = "what a record carries, and where it goes")]
    fn push(
        &mut self,
        stream: Stream,
        terminal: bool,
        position: u64,
        chunk: Chunk,
        clock: WallClock,
        now: Instant,
        out: &mut Vec<Record>,
    ) {
        let state = &mut self.streams[stream as usize];
        state.count(position, chunk.data.bytes().len() as u64, chunk.timestamp);
        let StreamSession { order, framer, writer, emitted, .. } = state;
        let mut sink = Emit { origin: &self.origin, held: &mut self.held, stream, clock, emitted, writer, out };
        framer.set_terminal(terminal);
        order.push(position, chunk, |step| sink.step(framer, step, None));
        state.waiting_since = (state.order.waiting() > 0).then(|| state.waiting_since.unwrap_or(now));
    }

    /// Looks whether holes are gaps: they are, if the kernel side has nothing in flight and nothing of it is unread.
    fn settle(&mut self, slot: &ContainerSlot, ledger: &Ledger, clock: WallClock, now: Instant, out: &mut Vec<Record>) {
        for (stream, counters) in Stream::ALL.into_iter().zip(&slot.streams) {
            let state = &mut self.streams[stream as usize];
            if stream::written(counters) == state.order.position() && state.order.waiting() == 0 {
                continue;
            }
            let end = match settled(counters) {
                Some(kernel) if kernel.submitted == state.settled() => Some(kernel.written),
                _ => {
                    let overdue = state.overdue(now);
                    if overdue.is_some() {
                        ledger.failed(&self.origin.container_id, SessionError::Hole);
                    }
                    overdue
                }
            };
            let Some(end) = end else { continue };
            let lost = lost(counters);
            let reason = single_reason(&state.lost, &lost).map(LostReason::as_str);
            state.lost = lost;
            let timestamp = state.last_timestamp;
            let StreamSession { order, framer, writer, emitted, .. } = state;
            let mut sink = Emit { origin: &self.origin, held: &mut self.held, stream, clock, emitted, writer, out };
            order.settle(end, |step| {
                let step = match step {
                    Step::Gap { bytes, timestamp: 0 } => Step::Gap { bytes, timestamp },
                    other => other,
                };
                sink.step(framer, step, reason);
            });
            state.waiting_since = (state.order.waiting() > 0).then_some(now);
        }
    }

    /// Everything that the kernel side will ever submit for a container that is gone has been read.
    fn is_drained(&self, slot: &ContainerSlot) -> bool {
        !is_awaited(slot)
            && self
                .streams
                .iter()
                .zip(&slot.streams)
                .all(|(state, counters)| settled(counters).is_some_and(|kernel| kernel.submitted == state.settled()))
    }

    /// The container is gone and [`is_drained`](Self::is_drained): what has no newline is given out.
    fn finish(&mut self, slot: &ContainerSlot, ledger: &Ledger, clock: WallClock, now: Instant, out: &mut Vec<Record>) {
        self.settle(slot, ledger, clock, now, out);
        self.flush(clock, out);
    }

    /// Gives out what has no newline yet.
    fn flush(&mut self, clock: WallClock, out: &mut Vec<Record>) {
        for stream in Stream::ALL {
            let StreamSession { framer, writer, emitted, last_timestamp, .. } = &mut self.streams[stream as usize];
            let line = framer.flush(false);
            let mut sink = Emit { origin: &self.origin, held: &mut self.held, stream, clock, emitted, writer, out };
            if let Some(line) = line {
                let writer = sink.writer.take();
                sink.line(line, *last_timestamp, writer);
            }
        }
    }
}

/// The relay may be behind the container's death. Only its own death ends a stream that it has not read out.
fn is_awaited(slot: &ContainerSlot) -> bool {
    slot.streams.iter().any(kernel::is_relayed)
        && std::path::Path::new(&format!("/proc/{}", slot.relay_pid.load(Relaxed))).exists()
}

/// Makes records of what comes out of a stream, and puts them where they go.
struct Emit<'a> {
    origin: &'a Arc<Origin>,
    held: &'a mut Option<Held>,
    stream: Stream,
    clock: WallClock,
    /// Bytes of the records so far.
    emitted: &'a mut u64,
    /// Who began the line that waits for its newline.
    writer: &'a mut Option<Writer>,
    out: &'a mut Vec<Record>,
}

impl Emit<'_> {
    fn step(&mut self, framer: &mut Framer, step: Step, reason: Option<&'static str>) {
        match step {
            Step::Chunk(Chunk { timestamp: completed, data, writer: chunk_writer }) => {
                // What comes out first began in an earlier chunk, if anything waited.
                let mut waited = framer.pending() > 0;
                framer.push(completed, data, |framed| {
                    let writer = if std::mem::take(&mut waited) { self.writer.take() } else { chunk_writer };
                    match framed {
                        Framed::Line(line) => self.line(line, completed, writer),
                        Framed::Lines { timestamp, data, count } => {
                            self.record(timestamp, timestamp, Content::Lines { data, count }, writer);
                        }
                    }
                });
                if !waited {
                    *self.writer = chunk_writer;
                }
            }
            Step::Gap { bytes, timestamp } => {
                if let Some(line) = framer.flush(true) {
                    let writer = self.writer.take();
                    self.line(line, timestamp, writer);
                }
                self.record(timestamp, timestamp, Content::Gap { bytes, reason }, None);
            }
        }
    }

    fn line(&mut self, line: Line, completed: u64, writer: Option<Writer>) {
        let Line { timestamp, message, newline, partial, omitted } = line;
        self.record(timestamp, completed, Content::Line { message, newline, partial, omitted }, writer);
    }

    fn record(&mut self, began: u64, completed: u64, content: Content, writer: Option<Writer>) {
        let attributes = |writer| Box::new(Attributes { writer: Some(writer), ..Attributes::default() });
        let record = Record {
            origin: Arc::clone(self.origin),
            stream: self.stream,
            timestamp: self.clock.unix_nanoseconds(began),
            completed,
            position: *self.emitted,
            content,
            attributes: writer.map(attributes),
        };
        *self.emitted += record.stream_bytes();
        match self.held {
            Some(held) => held.push(record),
            None => self.out.push(record),
        }
    }
}
