//! Chunks into the order of their positions, and gaps where positions never come.
//!
//! Calls that end on different CPUs at the same moment may reach the ring buffer in another order than the one in which
//! they took their positions. And chunks that the kernel side could not submit leave a hole. Which of the two it is
//! shows when the kernel's counters are settled: see [`Order::settle`].

use std::collections::BTreeMap;

use super::framing::Counted;
use crate::pipeline::record::Writer;

/// Bytes of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// `CLOCK_MONOTONIC` of the call, in ns.
    pub timestamp: u64,
    /// What was written.
    pub data: Counted,
    /// Who wrote it, where that is asked for and known.
    pub writer: Option<Writer>,
}

/// What comes out, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next bytes of the stream.
    Chunk(Chunk),
    /// Bytes that will never come.
    Gap {
        /// How many.
        bytes: u64,
        /// `CLOCK_MONOTONIC` of the call after it, in ns; 0 at the end of the stream.
        timestamp: u64,
    },
}

/// One stream's chunks.
#[derive(Debug, Default)]
pub struct Order {
    next: u64,
    ahead: BTreeMap<u64, Chunk>,
    ahead_bytes: u64,
    gaps: u64,
}

impl Order {
    /// Takes a chunk; gives out what is in order now.
    pub fn push(&mut self, position: u64, chunk: Chunk, mut out: impl FnMut(Step)) {
        if position > self.next {
            self.ahead_bytes += chunk.data.bytes().len() as u64;
            self.ahead.insert(position, chunk);
            return;
        }
        // Behind `next` is only what `settle` gave up on too early; late bytes are better than lost ones.
        if position == self.next {
            self.next += chunk.data.bytes().len() as u64;
        } else {
            self.gaps = self.gaps.saturating_sub(chunk.data.bytes().len() as u64);
        }
        out(Step::Chunk(chunk));
        self.release(&mut out);
    }

    /// Bytes that wait for a hole before them to be filled.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.ahead_bytes
    }

    /// Position of the first chunk that waits.
    #[must_use]
    pub fn first_waiting(&self) -> Option<u64> {
        self.ahead.keys().next().copied()
    }

    /// Bytes that were declared missing.
    #[must_use]
    pub fn gaps(&self) -> u64 {
        self.gaps
    }

    /// The next position.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Every chunk below `end` that the kernel side submitted has been pushed: holes below it are gaps.
    pub fn settle(&mut self, end: u64, mut out: impl FnMut(Step)) {
        while let Some(position) = self.ahead.keys().next().copied().filter(|position| *position <= end) {
            self.gap(position, &mut out);
            self.release(&mut out);
        }
        if self.ahead.is_empty() && end > self.next {
            self.gap(end, &mut out);
        }
    }

    fn gap(&mut self, until: u64, out: &mut impl FnMut(Step)) {
        let bytes = until - self.next;
        if bytes > 0 {
            let timestamp = self.ahead.first_key_value().map_or(0, |(_, chunk)| chunk.timestamp);
            out(Step::Gap { bytes, timestamp });
            self.gaps += bytes;
            self.next = until;
        }
    }

    fn release(&mut self, out: &mut impl FnMut(Step)) {
        while let Some(entry) = self.ahead.first_entry() {
            if *entry.key() > self.next {
                break;
            }
            let chunk = entry.remove();
            self.ahead_bytes -= chunk.data.bytes().len() as u64;
            self.next += chunk.data.bytes().len() as u64;
            out(Step::Chunk(chunk));
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn chunk(text: &'static str) -> Chunk {
        Chunk { timestamp: 5, data: Bytes::from_static(text.as_bytes()).into(), writer: None }
    }

    fn text(steps: &[Step]) -> String {
        steps
            .iter()
            .map(|step| match step {
                Step::Chunk(chunk) => String::from_utf8_lossy(chunk.data.bytes()).into_owned(),
                Step::Gap { bytes, .. } => format!("[{bytes}]"),
            })
            .collect()
    }

    #[test]
    fn puts_chunks_in_the_order_of_their_positions() {
        let (mut order, mut steps) = (Order::default(), Vec::new());
        for (position, bytes) in [(2, "cd"), (6, "gh"), (0, "ab"), (4, "ef")] {
            order.push(position, chunk(bytes), |step| steps.push(step));
        }
        assert_eq!(text(&steps), "abcdefgh");
        assert_eq!((order.waiting(), order.gaps(), order.position()), (0, 0, 8));
    }

    #[test]
    fn a_hole_is_a_gap_when_the_kernel_has_settled() {
        let (mut order, mut steps) = (Order::default(), Vec::new());
        order.push(0, chunk("ab"), |step| steps.push(step));
        order.push(5, chunk("f"), |step| steps.push(step));
        order.push(9, chunk("j"), |step| steps.push(step));
        assert_eq!((text(&steps).as_str(), order.waiting()), ("ab", 2));
        order.settle(5, |step| steps.push(step));
        assert_eq!(text(&steps), "ab[3]f", "what lies beyond may still come");
        order.settle(12, |step| steps.push(step));
        assert_eq!(text(&steps), "ab[3]f[3]j[2]");
        assert_eq!((order.waiting(), order.gaps(), order.position()), (0, 8, 12));
    }

    #[test]
    fn a_late_chunk_is_delivered_and_no_longer_a_gap() {
        let (mut order, mut steps) = (Order::default(), Vec::new());
        order.push(2, chunk("cd"), |step| steps.push(step));
        order.settle(4, |step| steps.push(step));
        order.push(0, chunk("ab"), |step| steps.push(step));
        assert_eq!(text(&steps), "[2]cdab");
        assert_eq!((order.gaps(), order.position()), (0, 4));
    }
}
