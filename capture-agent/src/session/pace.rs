//! When the reader looks again at what does not come as a record: seldom, while nothing is to be expected.
//!
//! A look costs a wake-up and a little for each session. On a host that is silent that is all that the agent does.

use std::time::{Duration, Instant};

use super::reader::Reader;

/// How often while output comes.
pub(super) const TICK: Duration = Duration::from_millis(100);
/// How often while records wait for a name or for a hole to be filled, or a seal for what lies before it.
const URGENT_TICK: Duration = Duration::from_millis(10);
/// How often while nothing comes. A change that no record tells of is seen so late at most: a slot whose mark found no room,
/// lost bytes that nothing follows.
const IDLE_TICK: Duration = Duration::from_secs(1);

/// How much is to come while a reader rests. What it takes to read is less than what it takes the pipes between the writer,
/// the relay and the engine, of 64 KiB each, to run full or empty: they do not wait for a CPU that the reader has.
const BURST: u32 = 128 << 10;
/// For how long a reader that has just read sleeps, come what may: a writer that is in step with it would pay a wake-up for
/// each record. This long unless [`BURST`] comes sooner.
const LONGEST_REST: Duration = Duration::from_millis(1);
/// This long at least: below, what it costs to wake up is more than what it brings.
const SHORTEST_REST: Duration = Duration::from_micros(250);
/// And so many times as long as the CPU time that one takes, by what it costs the machine to set a timer: 33 us on one of them.
const REST_PER_COST: u32 = 64;
/// Up to this long, for that. Where [`BURST`] takes [`LONGEST_REST`] or longer to come it is not asked, so that single lines are as soon there as ever.
const LONGEST_COSTLY_REST: Duration = Duration::from_millis(2);
/// Of so many rests one is asked what it takes.
const COST_EVERY: u32 = 32;

/// So many times, at most, a reader rests once more although nothing has come: a writer that pauses for less pays nothing for
/// waking it when it goes on.
const VAIN_RESTS: u32 = 16;
/// How long each of them is.
const VAIN_REST: Duration = Duration::from_millis(2);

/// How long the reader is to sleep after it has read, by how much came of late, and by what it takes to sleep.
#[derive(Debug)]
pub(super) struct Rest {
    /// When the last one began.
    since: Instant,
    /// Read since.
    bytes: u32,
    /// Read, and no vain rest taken for it. There is one for each [`BURST`], so that they never take more than reading that has taken.
    unspent: u32,
    /// Rests until one is asked again.
    unasked: u32,
    /// CPU time that one takes, of late.
    cost: Duration,
}

impl Rest {
    /// So many bytes were read.
    pub(super) fn add(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.bytes = self.bytes.saturating_add(bytes);
        self.unspent = self.unspent.saturating_add(bytes).min(VAIN_RESTS * BURST);
    }

    /// Whether to rest once more where nothing has come, in place of having whoever writes next wake the reader. Waking a thread
    /// takes the writer 25 us on some machines.
    pub(super) fn expects_more(&mut self) -> bool {
        let rest = self.unspent.checked_sub(BURST);
        self.unspent = rest.unwrap_or(self.unspent);
        rest.is_some()
    }

    /// How long the one that begins `now` is to be.
    pub(super) fn next(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(std::mem::replace(&mut self.since, now));
        let bytes = std::mem::take(&mut self.bytes);
        if bytes == 0 {
            return VAIN_REST;
        }
        // Bounded, so that the product fits; a second of anything that is read in one go is the longest or the shortest anyway.
        let burst = passed.min(Duration::from_secs(1)) * BURST / bytes;
        let costly = (self.cost * REST_PER_COST).clamp(SHORTEST_REST, LONGEST_COSTLY_REST);
        if burst < LONGEST_REST { burst.max(costly) } else { LONGEST_REST }
    }

    /// Rests by `sleep`, which has the calling thread do nothing else; `cpu` is the CPU time of that thread so far.
    pub(super) fn take<T>(&mut self, sleep: impl FnOnce() -> T, cpu: impl Fn() -> Duration) -> T {
        if self.unasked > 0 {
            self.unasked -= 1;
            return sleep();
        }
        self.unasked = COST_EVERY - 1;
        let before = cpu();
        let outcome = sleep();
        let cost = cpu().saturating_sub(before);
        // One alone may have been in the way of an interrupt.
        self.cost = if self.cost.is_zero() { cost } else { (self.cost * 3 + cost) / 4 };
        outcome
    }
}

impl Default for Rest {
    fn default() -> Self {
        Self { since: Instant::now(), bytes: 0, unspent: 0, unasked: 0, cost: Duration::ZERO }
    }
}

/// What the rhythm of the looks depends on, beside what a session knows itself.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The next look is further away than usual.
    pub(super) is_idle: bool,
    /// The last one found slots whose container is gone.
    pub(super) has_ended_slots: bool,
    /// Records of some container wait for its name.
    pub(super) awaits_names: bool,
    /// How long the next sleep is.
    pub(super) rest: Rest,
}

impl Pace {
    /// When the look is to be that was due `next_tick`, after what was read by `now`.
    pub(super) fn hasten(&self, next_tick: Instant, now: Instant) -> Instant {
        if self.awaits_names { next_tick.min(now + URGENT_TICK) } else { next_tick }
    }
}

impl Reader {
    /// When the next look is due, after one at `now`.
    pub(super) fn next_tick(&mut self, now: Instant) -> Instant {
        self.pace.is_idle = false;
        if self.is_urgent() {
            return now + URGENT_TICK;
        }
        let usual = now + TICK;
        if self.bytes_read > 0 || self.pace.has_ended_slots || !self.is_up_to_date() {
            return usual;
        }
        let next = self.next_deadline().map_or(now + IDLE_TICK, |deadline| deadline.min(now + IDLE_TICK));
        self.pace.is_idle = next > usual;
        next.max(usual)
    }

    fn is_urgent(&self) -> bool {
        self.pace.awaits_names
            || self.sessions.iter().flatten().any(|session| {
                session.is_being_sealed() || session.streams.iter().any(|stream| stream.waiting_since.is_some())
            })
    }

    fn is_up_to_date(&self) -> bool {
        self.sessions.iter().enumerate().all(|(index, session)| match (session, self.table.get(index as u32)) {
            (Some(session), Some(slot)) => session.is_up_to_date(slot),
            _ => true,
        })
    }

    /// Of what waits for a time: sessions to be sealed, lines that wait for the next one.
    fn next_deadline(&self) -> Option<Instant> {
        let rotation = self.sessions.iter().flatten().map(|session| session.rotation.latest()).min();
        [rotation, self.config.shaping.next_deadline()].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_rest_is_as_long_as_a_burst_takes_to_come() {
        let begin = Instant::now();
        let mut rest = Rest { since: begin, ..Rest::default() };
        let at = |micros| begin + Duration::from_micros(micros);
        assert_eq!(rest.next(at(1000)), VAIN_REST, "nothing has come");
        rest.add(100);
        assert_eq!(rest.next(at(2000)), LONGEST_REST, "little has");
        // 262 MB/s
        (0..64).for_each(|_| rest.add(4096));
        assert_eq!(rest.next(at(3000)), Duration::from_micros(500));
        rest.add(64 << 20);
        assert_eq!(rest.next(at(4000)), SHORTEST_REST, "very much has");
        rest.add(usize::MAX);
        assert_eq!(rest.next(at(4000)), SHORTEST_REST, "in no time");
        rest.add(100);
        assert_eq!(rest.next(begin + Duration::from_secs(2_500_001)), LONGEST_REST, "after a month");
    }

    #[test]
    fn a_reader_rests_in_vain_as_often_as_it_read_bursts() {
        let mut rest = Rest::default();
        let mut vain = |bytes: u32| {
            rest.add(bytes as usize);
            std::iter::from_fn(|| rest.expects_more().then_some(())).count()
        };
        assert_eq!(vain(BURST - 100), 0, "single lines are waited for");
        assert_eq!(vain(100), 1, "until they are a burst together");
        assert_eq!(vain(100), 0, "which counts once");
        assert_eq!(vain(3 * BURST), 3);
        assert_eq!(vain(u32::MAX), VAIN_RESTS as usize, "for some milliseconds, however much it was");
    }

    #[test]
    fn a_rest_is_longer_where_it_takes_more() {
        let mut rest = Rest::default();
        let clock = Cell::new(Duration::ZERO);
        let shortest = |rest: &mut Rest| {
            rest.add(usize::MAX);
            rest.next(rest.since)
        };
        // So many rests, each of which takes `cost`.
        let take = |rest: &mut Rest, count: u32, cost: u64| {
            let sleep = || clock.set(clock.get() + Duration::from_micros(cost));
            (0..count).for_each(|_| rest.take(sleep, || clock.get()));
        };
        take(&mut rest, 1, 20);
        assert_eq!(shortest(&mut rest), Duration::from_micros(20 * 64), "the first one is asked");
        take(&mut rest, COST_EVERY - 1, 1000);
        assert_eq!(shortest(&mut rest), Duration::from_micros(20 * 64), "the next ones are not");
        take(&mut rest, 1, 28);
        assert_eq!(shortest(&mut rest), Duration::from_micros(22 * 64), "a quarter of it counts");
        take(&mut rest, 100 * COST_EVERY, 1000);
        assert_eq!(shortest(&mut rest), LONGEST_COSTLY_REST, "however much they take");
        rest.add(BURST as usize);
        assert_eq!(rest.next(rest.since + LONGEST_REST), LONGEST_REST, "but not where little comes");
        take(&mut rest, 100 * COST_EVERY, 0);
        assert_eq!(shortest(&mut rest), SHORTEST_REST, "and however little");
    }
}
