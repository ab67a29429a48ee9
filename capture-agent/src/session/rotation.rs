//! Rotation: the accounts of a session are closed on an interval, without opening or closing anything elsewhere.
//!
//! Each stream is sealed at a moment between two calls. The session is over when everything before the seals has come
//! out of the ring buffer and was made into records; the next one has begun at the seals. Nothing waits for it.

use std::time::{Duration, Instant};

use capture_common::{ContainerSlot, Stream};

use super::Session;
use super::stream::{Seal, kernel_totals};
use super::totals::KernelTotals;

/// How long a stream may be so busy that no moment between two calls is met.
const SEAL_DEADLINE: Duration = Duration::from_mins(1);

/// When a session is sealed, and where the last one was.
#[derive(Debug)]
pub(super) struct Rotation {
    interval: Duration,
    opened: Instant,
    due: Instant,
    /// The kernel side's counters at the last seal.
    sealed: [KernelTotals; 2],
}

/// A session that is over.
#[derive(Debug)]
pub(super) struct Sealed {
    /// From its opening to its seal.
    pub(super) age: Duration,
    /// What the kernel side counted in it, by stream.
    pub(super) kernel: [KernelTotals; 2],
    /// Whether every byte that the kernel side submitted was received and made into records.
    pub(super) reconciled: bool,
}

impl Rotation {
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, opened: now, due: now + interval, sealed: Default::default() }
    }

    /// Until when the session is to be sealed at the latest: a thirtieth of its interval after it is due. Where nothing else
    /// happens, one look seals all that have become due meanwhile.
    pub(super) fn latest(&self) -> Instant {
        self.due + self.interval / 30
    }

    /// Closes the accounts at `kernel`.
    fn close(&mut self, kernel: [KernelTotals; 2], reconciled: bool, now: Instant) -> Sealed {
        let in_session = std::array::from_fn(|stream| kernel[stream].since(&self.sealed[stream]));
        let age = now.saturating_duration_since(self.opened);
        self.sealed = kernel;
        self.opened = now;
        // On the grid, so that rotations keep their rate; a grid that was slept through is begun anew.
        self.due = (self.due + self.interval).max(now);
        Sealed { age, kernel: in_session, reconciled }
    }
}

impl Session {
    /// Goes on with the rotation, if it is due; gives the session that is over.
    ///
    /// `drained`: the ring buffer was empty after everything that had been read from it was taken in.
    pub(super) fn rotate(&mut self, slot: &ContainerSlot, drained: bool, now: Instant) -> Option<Sealed> {
        if now < self.rotation.due {
            return None;
        }
        let was_sealed = self.streams.iter().all(|stream| stream.seal.is_some());
        for (stream, counters) in self.streams.iter_mut().zip(&slot.streams) {
            if stream.seal.is_none() {
                stream.seal = Seal::take(counters, stream);
            }
        }
        let [Some(stdout), Some(stderr)] = self.streams.each_ref().map(|stream| stream.seal) else {
            let overdue = now.saturating_duration_since(self.rotation.due) > SEAL_DEADLINE;
            return overdue.then(|| self.give_up(slot, now));
        };
        if stdout.is_complete() && stderr.is_complete() {
            let balanced = self.streams.iter().all(super::StreamSession::is_balanced);
            self.unseal();
            return Some(self.rotation.close([stdout.kernel, stderr.kernel], balanced, now));
        }
        // Submitted before the seal, and not in an empty ring buffer after it: it never comes.
        (was_sealed && drained).then(|| {
            for stream in &mut self.streams {
                stream.missing += stream.seal.map_or(0, |seal| seal.outstanding());
            }
            self.unseal();
            self.rotation.close([stdout.kernel, stderr.kernel], false, now)
        })
    }

    /// Closes the accounts of a session whose container is gone, or whose agent ends.
    pub(super) fn seal_at_end(&mut self, slot: &ContainerSlot, now: Instant) -> Sealed {
        let kernel = kernel_totals(slot);
        let reconciled = self.streams.iter().zip(&kernel).all(|(stream, kernel)| {
            let is_received = stream.received == kernel.submitted && stream.is_balanced();
            is_received && kernel.is_settled() && stream.order.gaps() == kernel.lost()
        });
        if !reconciled {
            for (stream, (state, kernel)) in Stream::ALL.into_iter().zip(self.streams.iter().zip(&kernel)) {
                tracing::debug!(
                    container_id = %self.origin.container_id, stream = stream.as_str(), ?kernel,
                    received = state.received, emitted = state.emitted, gaps = state.order.gaps(),
                    "accounts at the end of a session",
                );
            }
        }
        self.rotation.close(kernel, reconciled, now)
    }

    /// What a container that is gone has submitted and the empty ring buffer does not hold: it never comes.
    pub(super) fn give_up_missing(&mut self, slot: &ContainerSlot) {
        for (stream, kernel) in self.streams.iter_mut().zip(kernel_totals(slot)) {
            stream.missing += kernel.submitted.saturating_sub(stream.settled());
        }
    }

    fn give_up(&mut self, slot: &ContainerSlot, now: Instant) -> Sealed {
        self.unseal();
        self.rotation.close(kernel_totals(slot), false, now)
    }

    fn unseal(&mut self) {
        for stream in &mut self.streams {
            stream.seal = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering::Relaxed;

    use bytes::Bytes;
    use capture_common::OutputStream;

    use super::*;
    use crate::kernel::WallClock;
    use crate::session::order::Chunk;

    const INTERVAL: Duration = Duration::from_secs(30);

    fn session(now: Instant) -> Session {
        let rotation = Rotation::new(INTERVAL, now);
        Session::open(&slot(0), Arc::from("a"), Arc::default(), 100, rotation, now)
    }

    /// A slot whose container has written so much to standard output, all of it submitted.
    fn slot(written: u64) -> ContainerSlot {
        let stream = |bytes: u64| OutputStream { written: bytes.into(), submitted: bytes.into(), ..Default::default() };
        ContainerSlot {
            cgroup_id: 1.into(),
            state: 2.into(),
            streams: [stream(written), stream(0)],
            ..Default::default()
        }
    }

    fn receive(session: &mut Session, position: u64, text: &'static str, now: Instant) {
        let chunk = Chunk { timestamp: 1, data: Bytes::from_static(text.as_bytes()).into(), writer: None };
        session.push(Stream::Stdout, false, position, chunk, WallClock::now(), now, &mut Vec::new());
    }

    #[test]
    fn a_session_is_sealed_when_all_before_the_seal_has_come() {
        let start = Instant::now();
        let (mut session, slot) = (session(start), slot(8));
        receive(&mut session, 0, "abc\n", start);
        assert!(session.rotate(&slot, true, start + INTERVAL / 2).is_none(), "not due");
        let due = start + INTERVAL;
        assert!(session.rotate(&slot, false, due).is_none(), "half of it is on its way");
        slot.streams[0].written.store(10, Relaxed);
        slot.streams[0].submitted.store(10, Relaxed);
        receive(&mut session, 4, "de", due);
        receive(&mut session, 6, "fg", due);
        receive(&mut session, 8, "hi", due);
        let sealed = session.rotate(&slot, false, due + Duration::from_secs(1)).unwrap();
        assert!(sealed.reconciled, "an open line is no difference");
        assert_eq!((sealed.kernel[0].written, sealed.age), (8, INTERVAL + Duration::from_secs(1)));
        // The grid stays, and the next session has what came after the seal.
        assert!(session.rotate(&slot, true, due + INTERVAL / 2).is_none());
        let next = session.rotate(&slot, true, due + INTERVAL).unwrap();
        assert_eq!((next.kernel[0].written, next.reconciled), (2, true));
    }

    #[test]
    fn bytes_that_never_come_are_a_difference_once() {
        let start = Instant::now();
        let (mut session, slot) = (session(start), slot(8));
        receive(&mut session, 0, "abc\n", start);
        let due = start + INTERVAL;
        assert!(session.rotate(&slot, true, due).is_none(), "the ring buffer may have been filled after it was read");
        assert!(!session.rotate(&slot, true, due + Duration::from_secs(1)).unwrap().reconciled);
        assert!(session.rotate(&slot, true, due + INTERVAL).unwrap().reconciled);
        assert!(session.is_drained(&slot), "it does not keep the slot for ever");
    }

    #[test]
    fn an_end_with_a_difference_is_told() {
        let start = Instant::now();
        let mut session = session(start);
        receive(&mut session, 0, "abc\n", start);
        assert!(session.seal_at_end(&slot(4), start).reconciled);
        assert!(!session.seal_at_end(&slot(5), start).reconciled);
    }
}
