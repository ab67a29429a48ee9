//! Container × stream: put chunks in order, frame them into lines, settle the accounts.

mod framing;
pub mod ledger;
mod order;
mod reader;

pub use reader::{Reader, ReaderConfig, StopReader};

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use capture_common::{ContainerSlot, LostReason, OutputStream, Stream};

use crate::containers::directory::{Directory, Lookup};
use crate::kernel::{self, WallClock};
use crate::pipeline::record::{Account, Content, Origin, Record};
use framing::{Framer, Line};
use ledger::{KernelTotals, Ledger};
use order::{Chunk, Order, Step};

/// How long records wait for the name of their container.
const METADATA_DEADLINE: Duration = Duration::from_secs(2);
/// How many bytes of records wait for it.
const METADATA_BUFFER: u64 = 1 << 20;
/// How long a hole may stay open: the kernel side fills it within one call with preemption off.
const HOLE_DEADLINE: Duration = Duration::from_millis(250);
/// How many bytes may wait behind a hole.
const HOLE_BUFFER: u64 = 8 << 20;

/// One container's capture, from the first sight of its slot to its end.
struct Session {
    generation: u32,
    origin: Arc<Origin>,
    /// Records that wait for the name; `None` once it is known, or was waited for in vain.
    held: Option<Held>,
    streams: [StreamSession; 2],
}

struct Held {
    since: Instant,
    bytes: u64,
    records: Vec<Record>,
}

struct StreamSession {
    order: Order,
    framer: Framer,
    /// Bytes taken from the ring buffer.
    received: u64,
    /// When the first chunk that still waits behind a hole came.
    waiting_since: Option<Instant>,
    /// The counters of lost bytes when they were last made into a gap.
    lost: [u64; capture_common::LOST_REASONS],
    last_timestamp: u64,
}

impl Session {
    fn open(slot: &ContainerSlot, id: Arc<str>, account: Arc<Account>, max_line: usize, now: Instant) -> Self {
        Self {
            generation: slot.generation.load(Relaxed) as u32,
            origin: Arc::new(Origin::new(id, None, account)),
            held: Some(Held { since: now, bytes: 0, records: Vec::new() }),
            streams: [StreamSession::new(max_line), StreamSession::new(max_line)],
        }
    }

    fn id(&self) -> &Arc<str> {
        &self.origin.container_id
    }

    fn is_waiting_for_name(&self) -> bool {
        self.held.is_some()
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
        state.received += chunk.data.len() as u64;
        state.last_timestamp = state.last_timestamp.max(chunk.timestamp);
        let mut sink = Emit { origin: &self.origin, held: &mut self.held, stream, clock, out };
        let framer = &mut state.framer;
        framer.set_terminal(terminal);
        state.order.push(position, chunk, |step| sink.step(framer, step, None));
        state.waiting_since = (state.order.waiting() > 0).then(|| state.waiting_since.unwrap_or(now));
    }

    /// Looks whether holes are gaps: they are, if the kernel side has nothing in flight and nothing of it is unread.
    fn settle(&mut self, slot: &ContainerSlot, clock: WallClock, now: Instant, out: &mut Vec<Record>) {
        for (stream, counters) in Stream::ALL.into_iter().zip(&slot.streams) {
            let state = &mut self.streams[stream as usize];
            if counters.written.load(Relaxed) == state.order.position() && state.order.waiting() == 0 {
                continue;
            }
            let end = match Settled::read(counters) {
                Some(settled) if settled.submitted == state.received => Some(settled.written),
                _ => state.overdue(now),
            };
            let Some(end) = end else { continue };
            let lost = lost(counters);
            let reason = single_reason(&state.lost, &lost).map(LostReason::as_str);
            state.lost = lost;
            let timestamp = state.last_timestamp;
            let mut sink = Emit { origin: &self.origin, held: &mut self.held, stream, clock, out };
            let framer = &mut state.framer;
            state.order.settle(end, |step| {
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
        // The relay may be behind the container's death. Only its own death ends a stream that it has not read out.
        let is_awaited = slot.streams.iter().any(kernel::is_relayed)
            && std::path::Path::new(&format!("/proc/{}", slot.relay_pid.load(Relaxed))).exists();
        !is_awaited
            && self.streams.iter().zip(&slot.streams).all(|(state, counters)| {
                Settled::read(counters).is_some_and(|settled| settled.submitted == state.received)
            })
    }

    /// The container is gone and [`is_drained`](Self::is_drained): what has no newline is given out.
    fn finish(&mut self, slot: &ContainerSlot, clock: WallClock, now: Instant, out: &mut Vec<Record>) {
        self.settle(slot, clock, now, out);
        for (stream, (state, counters)) in Stream::ALL.into_iter().zip(self.streams.iter().zip(&slot.streams)) {
            let lost: u64 = lost(counters).iter().sum();
            if (state.received, state.order.gaps()) != (counters.submitted.load(Relaxed), lost) {
                tracing::error!(
                    container_id = %self.origin.container_id,
                    stream = stream.as_str(),
                    submitted = counters.submitted.load(Relaxed),
                    received = state.received,
                    lost,
                    gaps = state.order.gaps(),
                    "a session does not reconcile; please report this",
                );
            }
        }
        self.flush(clock, out);
    }

    /// Gives out what has no newline yet.
    fn flush(&mut self, clock: WallClock, out: &mut Vec<Record>) {
        for stream in Stream::ALL {
            let line = self.streams[stream as usize].framer.flush(false);
            let mut sink = Emit { origin: &self.origin, held: &mut self.held, stream, clock, out };
            if let Some(line) = line {
                sink.line(line);
            }
        }
    }

    /// Joins what the engine said since; gives out what was held for it, at the latest after the deadline.
    fn attach_metadata(
        &mut self,
        directory: &Directory,
        ledger: &Ledger,
        now: Instant,
        give_up: bool,
        out: &mut Vec<Record>,
    ) {
        let answer = directory.lookup(self.id());
        if let Lookup::Known(metadata) = &answer
            && self.origin.metadata.as_ref() != Some(metadata)
        {
            ledger.rename(self.id(), &metadata.name);
            self.origin = Arc::new(Origin::new(
                Arc::clone(self.id()),
                Some(Arc::clone(metadata)),
                Arc::clone(&self.origin.account),
            ));
        }
        let done = |held: &mut Held| {
            give_up
                || !matches!(answer, Lookup::Pending)
                || now.saturating_duration_since(held.since) >= METADATA_DEADLINE
                || held.bytes >= METADATA_BUFFER
        };
        if let Some(held) = self.held.take_if(done) {
            out.extend(held.records.into_iter().map(|record| Record { origin: Arc::clone(&self.origin), ..record }));
        }
    }
}

impl StreamSession {
    fn new(max_line: usize) -> Self {
        Self {
            order: Order::default(),
            framer: Framer::new(max_line),
            received: 0,
            waiting_since: None,
            lost: [0; capture_common::LOST_REASONS],
            last_timestamp: 0,
        }
    }

    /// The position up to which holes are given up although calls may be in flight.
    fn overdue(&self, now: Instant) -> Option<u64> {
        let since = self.waiting_since?;
        (now.saturating_duration_since(since) > HOLE_DEADLINE || self.order.waiting() > HOLE_BUFFER)
            .then(|| self.order.first_waiting())
            .flatten()
    }
}

/// Counters of a stream at a moment when no call was in flight.
struct Settled {
    written: u64,
    submitted: u64,
}

impl Settled {
    /// `None` while a call is in flight. `written` moves first and is read on both sides: if it stood still and the
    /// others add up to it, every position below it had been submitted or lost.
    fn read(counters: &OutputStream) -> Option<Self> {
        use std::sync::atomic::Ordering::SeqCst;
        let written = counters.written.load(SeqCst);
        let submitted = counters.submitted.load(SeqCst);
        let lost: u64 = counters.lost.iter().map(|lost| lost.load(SeqCst)).sum();
        (submitted + lost == written && counters.written.load(SeqCst) == written).then_some(Self { written, submitted })
    }
}

/// What the kernel side has counted for a slot.
fn kernel_totals(slot: &ContainerSlot) -> [KernelTotals; 2] {
    std::array::from_fn(|stream| {
        let counters = &slot.streams[stream];
        let (submitted, lost) = (counters.submitted.load(Relaxed), lost(counters));
        // Read last, so that a scrape never shows less written than submitted.
        KernelTotals { written: counters.written.load(Relaxed), submitted, lost }
    })
}

fn lost(counters: &OutputStream) -> [u64; capture_common::LOST_REASONS] {
    std::array::from_fn(|reason| counters.lost[reason].load(Relaxed))
}

fn single_reason(before: &[u64], after: &[u64]) -> Option<LostReason> {
    let mut reasons =
        LostReason::ALL.into_iter().zip(before.iter().zip(after)).filter(|(_, (before, after))| after > before);
    let (reason, _) = reasons.next()?;
    reasons.next().is_none().then_some(reason)
}

/// Makes records of what comes out of a stream, and puts them where they go.
struct Emit<'a> {
    origin: &'a Arc<Origin>,
    held: &'a mut Option<Held>,
    stream: Stream,
    clock: WallClock,
    out: &'a mut Vec<Record>,
}

impl Emit<'_> {
    fn step(&mut self, framer: &mut Framer, step: Step, reason: Option<&'static str>) {
        match step {
            Step::Chunk(chunk) => framer.push(chunk.timestamp, &chunk.data, |line| self.line(line)),
            Step::Gap { bytes, timestamp } => {
                if let Some(line) = framer.flush(true) {
                    self.line(line);
                }
                self.record(timestamp, Content::Gap { bytes, reason });
            }
        }
    }

    fn line(&mut self, line: Line) {
        let Line { timestamp, message, newline, partial, omitted } = line;
        self.record(timestamp, Content::Line { message, newline, partial, omitted });
    }

    fn record(&mut self, timestamp: u64, content: Content) {
        let record = Record {
            origin: Arc::clone(self.origin),
            stream: self.stream,
            timestamp: self.clock.unix_nanoseconds(timestamp),
            content,
        };
        match self.held {
            Some(held) => {
                held.bytes += record.stream_bytes();
                held.records.push(record);
            }
            None => self.out.push(record),
        }
    }
}
