//! Durations by size, counted without a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Counts durations in `N` buckets and one more for what exceeds them all.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    /// Upper bounds in seconds, ascending.
    bounds: &'static [f64; N],
    /// Per bucket, not cumulative.
    buckets: [AtomicU64; N],
    beyond: AtomicU64,
    total_ns: AtomicU64,
}

/// What a [`Histogram`] has counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// Upper bound in seconds, and how many durations were no longer: cumulative.
    pub buckets: Vec<(f64, u64)>,
    /// All durations.
    pub count: u64,
    /// Their sum in seconds.
    pub sum: f64,
}

impl<const N: usize> Histogram<N> {
    /// An empty histogram.
    #[must_use]
    pub const fn new(bounds: &'static [f64; N]) -> Self {
        Self {
            bounds,
            buckets: [const { AtomicU64::new(0) }; N],
            beyond: AtomicU64::new(0),
            total_ns: AtomicU64::new(0),
        }
    }

    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        self.observe_all(std::iter::once(duration));
    }

    /// Counts many, with one atomic operation for each bucket that is touched.
    pub fn observe_all(&self, durations: impl Iterator<Item = Duration>) {
        let mut counts = [0; N];
        let (mut beyond, mut total) = (0, 0);
        for duration in durations {
            let seconds = duration.as_secs_f64();
            match self.bounds.iter().position(|bound| seconds <= *bound) {
                Some(bucket) => counts[bucket] += 1,
                None => beyond += 1,
            }
            total += duration.as_nanos() as u64;
        }
        let counts = self.buckets.iter().chain([&self.beyond]).zip(counts.into_iter().chain([beyond]));
        for (bucket, count) in counts.filter(|(_, count)| *count > 0) {
            bucket.fetch_add(count, Relaxed);
        }
        self.total_ns.fetch_add(total, Relaxed);
    }

    /// What was counted so far.
    #[expect(clippy::cast_precision_loss, reason = "a sum of seconds; 2^53 ns are 104 days")]
    #[must_use]
    pub fn read(&self) -> Distribution {
        let mut count = 0;
        let buckets = self.bounds.iter().zip(&self.buckets).map(|(bound, bucket)| {
            count += bucket.load(Relaxed);
            (*bound, count)
        });
        let buckets = buckets.collect();
        count += self.beyond.load(Relaxed);
        Distribution { buckets, count, sum: self.total_ns.load(Relaxed) as f64 / 1e9 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_what_exceeds_them_counts_too() {
        let histogram = Histogram::new(&[0.001, 0.1, 1.0]);
        histogram.observe_all([1, 50, 60, 5000].into_iter().map(Duration::from_millis));
        histogram.observe(Duration::from_micros(10));
        let read = histogram.read();
        assert_eq!(read.buckets, [(0.001, 2), (0.1, 4), (1.0, 4)]);
        assert_eq!(read.count, 5);
        assert!((read.sum - 5.11101).abs() < 1e-9, "{}", read.sum);
    }
}
