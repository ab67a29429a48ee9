//! How long to wait before a retry.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::settings::RetryPolicy;

/// Exponential backoff with full jitter: any time up to a limit that doubles, so that agents whose destination fell over do
/// not all come back at once.
#[derive(Debug)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(super) const fn new() -> Self {
        Self { failures: 0 }
    }

    /// The wait after one more failure; no shorter than what the destination asked for.
    pub(super) fn next(&mut self, policy: &RetryPolicy, asked: Option<Duration>) -> Duration {
        let limit = policy.initial.saturating_mul(1 << self.failures.min(20)).min(policy.max);
        self.failures += 1;
        // The hasher's keys are random: that is all the randomness that is needed here.
        let dice = RandomState::new().hash_one(self.failures) as u32;
        let jittered = limit.mul_f64(f64::from(dice) / f64::from(u32::MAX));
        asked.map_or(jittered, |asked| asked.saturating_add(jittered.min(asked)))
    }

    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_spread_below_a_limit_that_doubles_and_stays() {
        let policy = RetryPolicy {
            initial: Duration::from_millis(100),
            max: Duration::from_millis(700),
            ..RetryPolicy::default()
        };
        let limits = [100, 200, 400, 700, 700, 700].map(Duration::from_millis);
        let mut longest = [Duration::ZERO; 6];
        for _ in 0..200 {
            let mut backoff = Backoff::new();
            for (longest, limit) in longest.iter_mut().zip(limits) {
                let wait = backoff.next(&policy, None);
                assert!(wait <= limit, "{wait:?} > {limit:?}");
                *longest = wait.max(*longest);
            }
        }
        for (longest, limit) in longest.into_iter().zip(limits) {
            assert!(longest > limit / 2, "200 throws and none above half of {limit:?}");
        }
    }

    #[test]
    fn what_the_destination_asks_for_is_the_least() {
        let mut backoff = Backoff::new();
        for _ in 0..40 {
            let wait = backoff.next(&RetryPolicy::default(), Some(Duration::from_secs(7)));
            assert!((Duration::from_secs(7)..=Duration::from_secs(14)).contains(&wait), "{wait:?}");
        }
    }
}
