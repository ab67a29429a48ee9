//! Memory that payloads are copied to out of the ring buffer, used again and again.

use std::collections::VecDeque;

use bytes::BytesMut;

use super::copy;
use super::framing::Counted;

/// Size of one arena: payloads are cut off it until it is used up.
const ARENA: usize = 128 << 10;
/// Arenas that are kept for use again; those beyond are freed with the last payload in them. As many as are on their way to
/// the sink while it is in step.
const KEPT: usize = 16;

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
    pub(super) fn copy(&mut self, payload: &[u8]) -> Counted {
        if self.current.capacity() < payload.len() {
            let next = self.next(ARENA.max(payload.len()));
            self.used.push_back(std::mem::replace(&mut self.current, next));
        }
        let newlines = copy::counting(payload, &mut self.current.spare_capacity_mut()[..payload.len()]);
        // SAFETY: nothing was in it, and now so many bytes are.
        unsafe { self.current.set_len(payload.len()) };
        Counted::of(self.current.split().freeze(), newlines)
    }

    /// The one that was used last of those that are free: the likeliest to be in the processor's cache still.
    fn next(&mut self, size: usize) -> BytesMut {
        if let Some(free) = self.used.iter_mut().rposition(|arena| arena.try_reclaim(size))
            && let Some(arena) = self.used.remove(free)
        {
            return arena;
        }
        if self.used.len() > KEPT {
            self.used.pop_front();
        }
        BytesMut::with_capacity(size)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use bytes::Bytes;

    use super::*;

    #[test]
    fn copies_are_exact_and_live_on() {
        let mut arenas = Arenas::new();
        let payloads: Vec<Vec<u8>> = (0..100_u8).map(|number| vec![number; 20_000 + usize::from(number)]).collect();
        let copies: Vec<_> = payloads.iter().map(|payload| arenas.copy(payload)).collect();
        assert!(copies.iter().zip(payloads).all(|(copy, payload)| *copy == Counted::from(Bytes::from(payload))));
        assert!(arenas.used.len() <= KEPT + 1);
    }

    #[test]
    fn what_is_used_again_is_what_was_in_use_last() {
        let mut arenas = Arenas::new();
        let payload = vec![1; ARENA];
        // As many as a sink that is behind has in hand, then one that is in step again.
        let behind: Vec<_> = (0..KEPT).map(|_| arenas.copy(&payload)).collect();
        drop(behind);
        let places: HashSet<_> = (0..100).map(|_| arenas.copy(&payload).bytes().as_ptr()).collect();
        assert!(places.len() <= 2, "{} arenas for one payload at a time", places.len());
    }

    #[test]
    fn an_arena_is_used_again_when_its_payloads_are_gone() {
        let mut arenas = Arenas::new();
        let mut places = HashSet::new();
        for _ in 0..100 {
            // The whole of it, so that the next one needs another.
            places.insert(arenas.copy(&vec![1; ARENA]).bytes().as_ptr());
        }
        assert!(places.len() <= 2, "{} arenas for one payload at a time", places.len());
    }
}
