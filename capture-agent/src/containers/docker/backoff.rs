//! When to try again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
/// A socket that appears is noticed within this time.
pub(super) const LONGEST: Duration = Duration::from_secs(5);

/// Delays that double, each shortened by up to a quarter so that many agents do not knock at once.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) const fn new() -> Self {
        Self { next: FIRST }
    }

    pub(super) fn next(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(LONGEST);
        // The hasher's keys are random: that is all the randomness that is needed here.
        let dice = RandomState::new().hash_one(delay) % 256;
        delay.saturating_sub(delay / 4 * dice as u32 / 256)
    }

    pub(super) fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_start_over() {
        let mut backoff = Backoff::new();
        let mut whole = FIRST;
        for _ in 0..10 {
            let delay = backoff.next();
            assert!(delay <= whole && delay >= whole * 3 / 4, "{delay:?} of {whole:?}");
            whole = (whole * 2).min(LONGEST);
        }
        assert_eq!(whole, LONGEST);
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
