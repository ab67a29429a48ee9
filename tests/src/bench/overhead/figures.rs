//! What was measured, and the ratios that come of it.

use std::collections::BTreeMap;

use super::calls::{Operation, Sample};
use crate::Attach;

/// What is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Setting {
    Nothing,
    /// Programs that return at once, on the hooks of attach mode `raw`.
    EmptyRaw,
    /// One on the exit alone.
    EmptyExit,
    /// The same hooks; the program on the exit asks which task a write is of and does nothing else.
    WhoseRaw,
    /// A program that copies what is written to fd 1 and does nothing else.
    CopyOnly,
    /// The same, and on the entry one that returns at once: the hooks of attach mode `raw`.
    CopyRaw,
    /// The same hooks; the program on the exit also asks which cgroup has written that, stamps and counts it.
    AccountRaw,
    /// The same as [`EmptyRaw`](Self::EmptyRaw) for attach mode `syscalls`.
    EmptySyscalls,
    /// The same as [`AccountRaw`](Self::AccountRaw) for attach mode `syscalls`.
    AccountSyscalls,
    Raw,
    Syscalls,
}

impl Setting {
    pub(super) const ALL: [Self; 11] = [
        Self::Nothing,
        Self::EmptyRaw,
        Self::Raw,
        Self::WhoseRaw,
        Self::EmptyExit,
        Self::CopyOnly,
        Self::CopyRaw,
        Self::AccountRaw,
        Self::EmptySyscalls,
        Self::AccountSyscalls,
        Self::Syscalls,
    ];

    pub(super) fn attach(self) -> Option<Attach> {
        match self {
            Self::Raw => Some(Attach::Raw),
            Self::Syscalls => Some(Attach::Syscalls),
            _ => None,
        }
    }
}

/// Where the measured program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Host,
    Container,
}

/// The fastest sample of each operation, by round.
#[derive(Debug, Default)]
pub(super) struct Figures {
    round: BTreeMap<(Setting, Place, Operation), f64>,
    rounds: Vec<BTreeMap<(Setting, Place, Operation), f64>>,
}

/// How an operation compares with the same and nothing attached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ratio {
    /// Of the fastest samples of all rounds.
    pub(super) best: f64,
    /// The median over the rounds of the ratio within a round.
    pub(super) median: f64,
}

impl Figures {
    pub(super) fn add(&mut self, setting: Setting, place: Place, samples: &[Sample]) {
        for sample in samples {
            let best = self.round.entry((setting, place, sample.operation)).or_insert(f64::INFINITY);
            *best = best.min(sample.nanoseconds);
        }
    }

    pub(super) fn end_round(&mut self) {
        self.rounds.push(std::mem::take(&mut self.round));
    }

    /// Nanoseconds of one operation; `None` where it was not measured.
    pub(super) fn best(&self, setting: Setting, place: Place, operation: Operation) -> Option<f64> {
        let of_rounds = self.rounds.iter().filter_map(|round| round.get(&(setting, place, operation)).copied());
        of_rounds.reduce(f64::min)
    }

    /// Against nothing attached.
    pub(super) fn ratio(&self, setting: Setting, place: Place, operation: Operation) -> Option<Ratio> {
        let nothing = (Setting::Nothing, Place::Host, operation);
        let best = self.best(setting, place, operation)? / self.best(nothing.0, nothing.1, operation)?;
        let mut of_rounds: Vec<f64> = self
            .rounds
            .iter()
            .filter_map(|round| Some(round.get(&(setting, place, operation))? / round.get(&nothing)?))
            .collect();
        of_rounds.sort_by(f64::total_cmp);
        Some(Ratio { best, median: *of_rounds.get(of_rounds.len() / 2)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_sample_counts_and_the_median_is_of_ratios() {
        let mut figures = Figures::default();
        for (nothing, raw) in [(100.0, 200.0), (100.0, 150.0), (50.0, 150.0)] {
            let sample = |nanoseconds| Sample { operation: Operation::Getppid, nanoseconds, output: 0 };
            figures.add(Setting::Nothing, Place::Host, &[sample(nothing), sample(nothing + 1.0)]);
            figures.add(Setting::Raw, Place::Host, &[sample(raw + 7.0), sample(raw)]);
            figures.end_round();
        }
        assert_eq!(figures.best(Setting::Raw, Place::Host, Operation::Getppid), Some(150.0));
        let ratio = figures.ratio(Setting::Raw, Place::Host, Operation::Getppid);
        assert_eq!(ratio, Some(Ratio { best: 3.0, median: 2.0 }));
        assert_eq!(figures.ratio(Setting::Raw, Place::Container, Operation::Getppid), None);
    }
}
