//! One stream of a session: its place in the order, its open line, its counts.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use capture_common::{ContainerSlot, LOST_REASONS, LostReason, OutputStream, SWITCHED};

use super::framing::Framer;
use super::order::Order;
use super::totals::KernelTotals;
use crate::pipeline::record::Writer;

/// How long a hole may stay open: the kernel side fills it within one call with preemption off.
const HOLE_DEADLINE: Duration = Duration::from_millis(250);
/// How many bytes may wait behind a hole.
const HOLE_BUFFER: u64 = 8 << 20;
/// A stream that is written to all the time is between two calls at one of so many looks.
const LOOKS: usize = 64;

pub(super) struct StreamSession {
    pub(super) order: Order,
    pub(super) framer: Framer,
    /// Who began the line that has no newline yet.
    pub(super) writer: Option<Writer>,
    /// Bytes taken from the ring buffer.
    pub(super) received: u64,
    /// Bytes of the records that were made of them.
    pub(super) emitted: u64,
    /// Bytes that the kernel side says it submitted and that never came; found by a reconciliation.
    pub(super) missing: u64,
    /// When the first chunk that still waits behind a hole came.
    pub(super) waiting_since: Option<Instant>,
    /// The counters of lost bytes when they were last made into a gap.
    pub(super) lost: [u64; LOST_REASONS],
    /// `CLOCK_MONOTONIC` of the newest write, in ns.
    pub(super) last_timestamp: u64,
    /// Taken when a rotation is due.
    pub(super) seal: Option<Seal>,
}

impl StreamSession {
    pub(super) fn new(max_line: usize) -> Self {
        Self {
            order: Order::default(),
            framer: Framer::new(max_line),
            writer: None,
            received: 0,
            emitted: 0,
            missing: 0,
            waiting_since: None,
            lost: [0; LOST_REASONS],
            last_timestamp: 0,
            seal: None,
        }
    }

    /// Counts a chunk that came out of the ring buffer.
    pub(super) fn count(&mut self, position: u64, length: u64, timestamp: u64) {
        self.received += length;
        self.last_timestamp = self.last_timestamp.max(timestamp);
        if let Some(seal) = &mut self.seal
            && position < seal.kernel.written
        {
            seal.received += length;
        }
    }

    /// Bytes of which it is known what became of them.
    pub(super) fn settled(&self) -> u64 {
        self.received + self.missing
    }

    /// The position up to which holes are given up although calls may be in flight.
    pub(super) fn overdue(&self, now: Instant) -> Option<u64> {
        let since = self.waiting_since?;
        (now.saturating_duration_since(since) > HOLE_DEADLINE || self.order.waiting() > HOLE_BUFFER)
            .then(|| self.order.first_waiting())
            .flatten()
    }

    /// Everything that came out of the ring buffer was made into records, or waits for what completes it.
    pub(super) fn is_balanced(&self) -> bool {
        self.received == self.emitted + self.order.waiting() + self.framer.pending()
    }
}

/// What a stream stood at when its session was sealed: a moment between two calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seal {
    pub(super) kernel: KernelTotals,
    /// Bytes of the positions before it that have come out of the ring buffer so far.
    received: u64,
}

impl Seal {
    /// `None` where a call was in flight at each look.
    pub(super) fn take(counters: &OutputStream, stream: &StreamSession) -> Option<Self> {
        // What has been read from the ring buffer by now took its position earlier: it lies before the seal.
        let received = stream.settled();
        (0..LOOKS).find_map(|_| settled(counters)).map(|kernel| Self { kernel, received })
    }

    /// Everything before it has been read.
    pub(super) fn is_complete(&self) -> bool {
        self.received == self.kernel.submitted
    }

    /// Bytes before it that have not been read.
    pub(super) fn outstanding(&self) -> u64 {
        self.kernel.submitted.saturating_sub(self.received)
    }
}

/// Counters of a stream at a moment when no call was in flight; `None` while one is.
///
/// `written` moves first and is read on both sides: if it stood still and the others add up to it, every position below
/// it had been submitted or lost.
pub(super) fn settled(counters: &OutputStream) -> Option<KernelTotals> {
    let written = written(counters);
    let submitted = counters.submitted.load(SeqCst);
    let lost: [u64; LOST_REASONS] = std::array::from_fn(|reason| counters.lost[reason].load(SeqCst));
    (submitted + lost.iter().sum::<u64>() == written && self::written(counters) == written).then_some(KernelTotals {
        written,
        submitted,
        lost,
    })
}

/// Bytes that the kernel side has counted for a stream, on whichever side it was captured; also the position of the next.
pub(super) fn written(counters: &OutputStream) -> u64 {
    match counters.written.load(SeqCst) {
        at_calls if at_calls & SWITCHED == 0 => at_calls,
        _ => counters.relayed.load(SeqCst),
    }
}

/// What the kernel side has counted for a slot.
pub(super) fn kernel_totals(slot: &ContainerSlot) -> [KernelTotals; 2] {
    std::array::from_fn(|stream| {
        let counters = &slot.streams[stream];
        let (submitted, lost) = (counters.submitted.load(Relaxed), lost(counters));
        // Read last, so that a scrape never shows less written than submitted.
        KernelTotals { written: written(counters), submitted, lost }
    })
}

pub(super) fn lost(counters: &OutputStream) -> [u64; LOST_REASONS] {
    std::array::from_fn(|reason| counters.lost[reason].load(Relaxed))
}

pub(super) fn single_reason(before: &[u64], after: &[u64]) -> Option<LostReason> {
    let mut reasons =
        LostReason::ALL.into_iter().zip(before.iter().zip(after)).filter(|(_, (before, after))| after > before);
    let (reason, _) = reasons.next()?;
    reasons.next().is_none().then_some(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(written: u64, submitted: u64, lost: u64) -> OutputStream {
        let counters = OutputStream::default();
        counters.written.store(written, Relaxed);
        counters.submitted.store(submitted, Relaxed);
        counters.lost[0].store(lost, Relaxed);
        counters
    }

    #[test]
    fn a_switched_stream_goes_on_where_it_was() {
        let counters = counters(10, 10, 0);
        assert_eq!(written(&counters), 10);
        counters.relayed.store(10, Relaxed);
        assert_eq!(written(&counters), 10);
        // A call that came too late has added what it wrote.
        counters.written.fetch_add(SWITCHED + 7, Relaxed);
        assert_eq!(written(&counters), 10);
        counters.relayed.fetch_add(5, Relaxed);
        assert_eq!(written(&counters), 15);
    }

    #[test]
    fn a_seal_is_taken_between_two_calls_only() {
        let stream = StreamSession::new(10);
        assert!(Seal::take(&counters(10, 7, 2), &stream).is_none());
        let seal = Seal::take(&counters(10, 7, 3), &stream).unwrap();
        assert_eq!((seal.kernel.written, seal.outstanding(), seal.is_complete()), (10, 7, false));
    }

    #[test]
    fn a_seal_is_complete_when_what_lies_before_it_has_come() {
        let mut stream = StreamSession::new(10);
        stream.count(0, 4, 1);
        stream.seal = Seal::take(&counters(10, 8, 2), &stream);
        stream.count(10, 5, 3);
        assert_eq!(stream.seal.unwrap().outstanding(), 4, "what lies beyond the seal does not count");
        stream.count(6, 4, 2);
        assert!(stream.seal.unwrap().is_complete());
    }
}
