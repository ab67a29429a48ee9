//! Lines that did not arrive, by when they were written.
//!
//! While no agent runs, nothing is captured: what is written between a `kill -9` and the next agent's first look cannot
//! arrive, and is told apart. What was written just before the kill may still have been on its way from the ring buffer to
//! the disk; that is an agent's own loss, counted and bounded. Around a kill for which the writers held still, and at any
//! other time, nothing may be missing.

use std::time::Duration;

/// The longest that a line may be on its way to the disk when the agent is killed.
pub const ON_ITS_WAY: Duration = Duration::from_millis(100);

/// A `kill -9`, and the agent after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// Just before the signal was sent, in ns since the Unix epoch.
    pub killed: u64,
    /// When the next agent said that it captures.
    pub capturing: u64,
    /// Whether all writers held still meanwhile.
    pub held: bool,
}

/// Lines that did not arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// For which there is no excuse.
    pub lost: u64,
    /// Written less than `ON_ITS_WAY` before a kill.
    pub on_their_way: u64,
    /// The longest time before the kill that one of those was written.
    pub oldest: Duration,
    /// Written while there was no agent.
    pub uncaptured: u64,
}

impl Missing {
    /// Sorts lines by the times at which they were written; `None` where Docker's own log does not have one.
    pub fn of(times: impl IntoIterator<Item = Option<u64>>, deaths: &[Death]) -> Self {
        let mut missing = Self::default();
        for time in times {
            let near = |death: &&Death| {
                let from = death.killed.saturating_sub(ON_ITS_WAY.as_nanos() as u64);
                !death.held && time.is_some_and(|time| (from..=death.capturing).contains(&time))
            };
            match (time, deaths.iter().find(near)) {
                (Some(time), Some(death)) if time >= death.killed => missing.uncaptured += 1,
                (Some(time), Some(death)) => {
                    missing.on_their_way += 1;
                    missing.oldest = missing.oldest.max(Duration::from_nanos(death.killed - time));
                }
                _ => missing.lost += 1,
            }
        }
        missing
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.lost + self.on_their_way + self.uncaptured
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_written_around_a_kill_has_an_excuse() {
        let ms = |milliseconds: u64| milliseconds * 1_000_000;
        let deaths = [
            Death { killed: ms(1000), capturing: ms(2000), held: false },
            Death { killed: ms(5000), capturing: ms(6000), held: true },
        ];
        let missing = |times: &[Option<u64>]| Missing::of(times.iter().copied(), &deaths);
        let lost = Missing { lost: 1, ..Missing::default() };
        for time in [None, Some(ms(899)), Some(ms(2001)), Some(ms(4999)), Some(ms(5500))] {
            assert_eq!(missing(&[time]), lost, "{time:?}");
        }
        let excused = missing(&[Some(ms(990)), Some(ms(950)), Some(ms(1000)), Some(ms(1500)), Some(ms(2000))]);
        let expected = Missing { lost: 0, on_their_way: 2, oldest: Duration::from_millis(50), uncaptured: 3 };
        assert_eq!((excused, excused.all()), (expected, 5));
    }
}
