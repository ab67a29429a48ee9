//! From the kernel's monotonic clock to the time of day.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Offset between `CLOCK_MONOTONIC`, which stamps records, and `CLOCK_REALTIME`.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    offset: i64,
}

impl WallClock {
    /// Measures the offset now. To be repeated now and then: the time of day is set and slewed.
    #[must_use]
    pub fn now() -> Self {
        // The pair that was read in the shortest time is the most exact one.
        let offset = (0..3)
            .map(|_| {
                let before = nanoseconds(ClockId::Monotonic);
                let wall = nanoseconds(ClockId::Realtime);
                let after = nanoseconds(ClockId::Monotonic);
                (after - before, wall - i64::midpoint(before, after))
            })
            .min()
            .map_or(0, |(_, offset)| offset);
        Self { offset }
    }

    /// Nanoseconds since the Unix epoch of a record's `timestamp`.
    #[must_use]
    pub fn unix_nanoseconds(self, monotonic: u64) -> i64 {
        monotonic.cast_signed() + self.offset
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds, to compare with a record's `timestamp`.
#[must_use]
pub fn monotonic() -> u64 {
    nanoseconds(ClockId::Monotonic).cast_unsigned()
}

/// CPU time of the calling thread so far (`CLOCK_THREAD_CPUTIME_ID`).
#[must_use]
pub fn thread_cpu_time() -> Duration {
    Duration::from_nanos(nanoseconds(ClockId::ThreadCPUTime).cast_unsigned())
}

fn nanoseconds(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
