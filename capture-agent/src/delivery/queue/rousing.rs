//! When a sink's thread is woken for what was put in.
//!
//! To be woken takes it some 10 µs, and whoever wakes it as much. One that needs longer than that for a batch begins at once; one that
//! does not is let sleep while output pours in, and has much in one go (`docs/decisions/0017-wall-time.md`).

use std::time::{Duration, Instant};

/// What would be done within less is not worth waking for while more comes.
const WORTH: Duration = Duration::from_micros(50);
/// So much always is, in bytes: an eighth of what makes a sink late.
const ENOUGH: u64 = super::LATE / 8;
/// Where so many bytes came in one pass of the reader, the next pass is sure to bring more.
const POURS: u64 = 64 << 10;
/// What a load took counts for this part of what the next one is thought to take.
const WEIGHT: u64 = 8;

/// What is known of the thread that takes things out.
#[derive(Debug, Default)]
pub(super) struct Rousing {
    /// It waits, and nobody has woken it since.
    is_asleep: bool,
    /// Something was put in meanwhile.
    has_more: bool,
    /// Bytes that were put in since the reader last paused.
    fresh: u64,
    /// When it took what it has in hand.
    begun: Option<Instant>,
    /// What a mebibyte takes it; `None` as long as it has not shown.
    pace: Option<Duration>,
}

impl Rousing {
    /// So many bytes were put in, so that `waiting` are there: whether the thread is to be woken at once, as it is where that `is_much`.
    pub(super) fn put(&mut self, bytes: u64, waiting: u64, is_much: bool) -> bool {
        self.has_more = true;
        self.fresh += bytes;
        let is_worth_it = |pace: Duration| share(pace, waiting) >= WORTH;
        (is_much || waiting >= ENOUGH || self.pace.is_none_or(is_worth_it)) && self.rouse()
    }

    /// The reader pauses: whether the thread is to be woken. Not where it is for a moment only, and so much came that more will.
    pub(super) fn pause(&mut self, for_a_moment: bool) -> bool {
        let pours = std::mem::take(&mut self.fresh) >= POURS;
        !(for_a_moment && pours) && self.rouse()
    }

    /// Whether the thread is to be woken for what was put in.
    pub(super) fn rouse(&mut self) -> bool {
        std::mem::take(&mut self.has_more) && std::mem::take(&mut self.is_asleep)
    }

    /// The thread has seen what is there, and waits for more; or does not any more.
    pub(super) fn sleeps(&mut self, is_asleep: bool) {
        self.is_asleep = is_asleep;
        self.has_more &= !is_asleep;
    }

    /// The thread has taken something.
    pub(super) fn begin(&mut self) {
        self.begun = Some(Instant::now());
    }

    /// It is done with it: with so many bytes.
    pub(super) fn end(&mut self, bytes: u64) {
        if let Some(begun) = self.begun.take() {
            self.took(begun.elapsed(), bytes);
        }
    }

    fn took(&mut self, time: Duration, bytes: u64) {
        let now = Duration::from_nanos((time.as_nanos() << 20).div_ceil(u128::from(bytes.max(1))) as u64);
        let before = self.pace.unwrap_or(now).as_nanos() as u64;
        let nanos = before - before / WEIGHT + now.as_nanos() as u64 / WEIGHT;
        self.pace = Some(Duration::from_nanos(nanos));
    }
}

/// What so many bytes take where a mebibyte takes `pace`.
fn share(pace: Duration, bytes: u64) -> Duration {
    Duration::from_nanos(((pace.as_nanos() * u128::from(bytes)) >> 20) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: u64 = 128 << 10;

    /// A thread that has taken so long for a batch, again and again, and sleeps.
    fn asleep(time: Duration) -> Rousing {
        let mut rousing = Rousing::default();
        for _ in 0..100 {
            rousing.took(time, BATCH);
        }
        rousing.sleeps(true);
        rousing
    }

    #[test]
    fn a_fast_one_sleeps_while_it_pours_until_there_is_much() {
        let mut rousing = asleep(Duration::from_micros(5));
        assert!(!rousing.pause(true), "for nothing");
        assert!(!rousing.put(BATCH, BATCH, false));
        assert!(!rousing.pause(true), "more is sure to come");
        assert!(!rousing.put(BATCH, 2 * BATCH, false));
        assert!(rousing.put(BATCH, ENOUGH, false));
        assert!(!rousing.put(BATCH, ENOUGH + BATCH, false), "it is awake");
        rousing.sleeps(true);
        assert!(rousing.put(1, 1, true), "of a small queue");
    }

    #[test]
    fn a_fast_one_is_woken_when_the_reader_pauses_after_little_or_nothing() {
        let mut rousing = asleep(Duration::from_micros(5));
        assert!(!rousing.put(BATCH, BATCH, false));
        assert!(!rousing.pause(true));
        assert!(rousing.pause(true));
        assert!(!rousing.pause(true), "once is enough");
        rousing.sleeps(true);
        assert!(!rousing.put(BATCH, BATCH, false));
        assert!(rousing.pause(false), "for longer");
        rousing.sleeps(true);
        assert!(!rousing.put(100, 100, false));
        assert!(rousing.pause(true));
    }

    #[test]
    fn a_slow_one_and_an_unknown_one_begin_at_once() {
        assert!(asleep(Duration::from_micros(70)).put(BATCH, BATCH, false));
        let mut unknown = Rousing::default();
        unknown.sleeps(true);
        assert!(unknown.put(1, 1, false));
    }

    #[test]
    fn one_that_becomes_slow_is_found_out_within_a_few_loads() {
        let mut rousing = asleep(Duration::from_micros(5));
        let loads = (1..1000).find(|_| {
            rousing.took(Duration::from_millis(1), BATCH);
            rousing.sleeps(true);
            rousing.put(BATCH, BATCH, false)
        });
        assert_eq!(loads, Some(1));
        let loads = (1..1000).find(|_| {
            rousing.took(Duration::from_micros(5), BATCH);
            rousing.sleeps(true);
            !rousing.put(BATCH, BATCH, false)
        });
        assert!(loads < Some(20), "{loads:?}");
    }
}
