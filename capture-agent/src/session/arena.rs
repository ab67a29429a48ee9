//! Memory that payloads are copied to out of the ring buffer, used again and again.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Size of one arena: payloads are cut off it until it is used up.
const ARENA: usize = 256 << 10;
/// Arenas that are kept for use again; those beyond are freed with the last payload in them. As many as are on their way to
/// the sink while it is in step.
const KEPT: usize = 8;

/// Where payloads are copied to.
#[derive(Debug)]
pub(super) struct Arenas {
    current: BytesMut,
    /// Used up, the oldest first. One whose payloads are all gone is as good as new, and its memory is in place already.
    used: VecDeque<BytesMut>,
}

impl Arenas {
    pub(super) fn new() -> Self {
        Self { current: BytesMut::with_capacity(ARENA), used: VecDeque::new() }
    }

    /// A copy of a payload.
    pub(super) fn copy(&mut self, payload: &[u8]) -> Bytes {
        if self.current.capacity() < payload.len() {
            let next = self.next(ARENA.max(payload.len()));
            self.used.push_back(std::mem::replace(&mut self.current, next));
        }
        self.current.extend_from_slice(payload);
        self.current.split().freeze()
    }

    fn next(&mut self, size: usize) -> BytesMut {
        if let Some(mut oldest) = self.used.pop_front() {
            if oldest.try_reclaim(size) {
                return oldest;
            }
            if self.used.len() < KEPT {
                self.used.push_front(oldest);
            }
        }
        BytesMut::with_capacity(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_exact_and_live_on() {
        let mut arenas = Arenas::new();
        let payloads: Vec<Vec<u8>> = (0..100_u8).map(|number| vec![number; 20_000 + usize::from(number)]).collect();
        let copies: Vec<Bytes> = payloads.iter().map(|payload| arenas.copy(payload)).collect();
        assert!(copies.iter().zip(&payloads).all(|(copy, payload)| copy == payload));
        assert!(arenas.used.len() <= KEPT + 1);
    }

    #[test]
    fn an_arena_is_used_again_when_its_payloads_are_gone() {
        let mut arenas = Arenas::new();
        let mut places = std::collections::HashSet::new();
        for _ in 0..100 {
            // The whole of it, so that the next one needs another.
            places.insert(arenas.copy(&vec![1; ARENA]).as_ptr());
        }
        assert!(places.len() <= 2, "{} arenas for one payload at a time", places.len());
    }
}
