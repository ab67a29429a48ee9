//! What the host of a virtual machine takes away: programs wait for it that are said to run.

#![expect(clippy::cast_precision_loss, reason = "a number of CPUs")]

use std::fmt;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::soak::usage::TICKS;

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(50);

/// What was taken of the CPUs in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Stolen {
    /// Of the time of all of them, in percent.
    pub(super) percent: f64,
    /// Of one CPU between two looks, at most.
    pub(super) longest: Duration,
}

impl fmt::Display for Stolen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { percent, longest } = self;
        write!(
            f,
            "Meanwhile the host took {percent:.1} % of the time of all CPUs away (`steal` of `/proc/stat`), and at most {} ms of one \
             between two looks, {} ms apart or more.",
            longest.as_millis(),
            LOOK.as_millis()
        )
    }
}

/// Looks until it is asked what it saw.
pub(super) struct Watch {
    end: Sender<()>,
    thread: JoinHandle<Result<Stolen>>,
}

impl Watch {
    /// Begins to look.
    ///
    /// # Errors
    /// Where there can be no thread for it.
    pub(super) fn start() -> Result<Self> {
        let (end, ended) = channel();
        let watch = move || {
            let (begin, mut looks) = (Instant::now(), Looks::new(seconds()?));
            let mut goes_on = true;
            while goes_on {
                goes_on = ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout);
                looks.add(seconds()?);
            }
            Ok(looks.stolen(begin.elapsed()))
        };
        let thread = thread::Builder::new().name("stolen".to_owned()).spawn(watch).context("no thread")?;
        Ok(Self { end, thread })
    }

    /// What it saw.
    ///
    /// # Errors
    /// Where the kernel does not tell.
    pub(super) fn end(self) -> Result<Stolen> {
        drop(self.end);
        self.thread.join().map_err(|_| anyhow::anyhow!("the watch panicked"))?
    }
}

/// Of each CPU, in seconds.
struct Looks {
    first: Vec<f64>,
    last: Vec<f64>,
    longest: f64,
}

impl Looks {
    fn new(first: Vec<f64>) -> Self {
        Self { last: first.clone(), first, longest: 0.0 }
    }

    fn add(&mut self, now: Vec<f64>) {
        self.longest = self.last.iter().zip(&now).map(|(last, now)| now - last).fold(self.longest, f64::max);
        self.last = now;
    }

    fn stolen(&self, elapsed: Duration) -> Stolen {
        let taken = self.last.iter().sum::<f64>() - self.first.iter().sum::<f64>();
        let percent = taken / (elapsed.as_secs_f64() * self.last.len() as f64) * 100.0;
        Stolen { percent, longest: Duration::from_secs_f64(self.longest) }
    }
}

/// Of each CPU since the host began.
fn seconds() -> Result<Vec<f64>> {
    let stat = std::fs::read_to_string("/proc/stat").context("/proc/stat")?;
    seconds_in(&stat).context("/proc/stat does not say what was taken of CPUs")
}

/// `steal` of `proc_stat(5)`, in a line of its own for each CPU.
fn seconds_in(stat: &str) -> Option<Vec<f64>> {
    let of_cpus = stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "));
    of_cpus.map(|line| Some(line.split_whitespace().nth(8)?.parse::<f64>().ok()? / TICKS)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cpu_has_its_own() {
        let stat = "cpu  1 2 3 4 5 6 7 888 9 10\ncpu0 1 2 3 4 5 6 7 800 9 10\ncpu1 1 2 3 4 5 6 7 88 9 10\nintr 5 6\n";
        assert_eq!(seconds_in(stat), Some(vec![8.0, 0.88]));
        assert_eq!(seconds_in("cpu0 1 2 3\n"), None);
    }

    #[test]
    fn it_is_told_of_all_cpus_and_of_one_between_two_looks() {
        let mut looks = Looks::new(vec![8.0, 0.5]);
        for look in [[8.25, 0.5], [8.25, 1.0], [8.5, 1.0]] {
            looks.add(look.to_vec());
        }
        let expected = Stolen { percent: 12.5, longest: Duration::from_millis(500) };
        assert_eq!(looks.stolen(Duration::from_secs(4)), expected);
    }

    #[test]
    fn a_watch_says_what_it_saw_when_it_is_asked() {
        let Stolen { percent, .. } = Watch::start().unwrap().end().unwrap();
        assert!(percent >= 0.0, "{percent}");
    }
}
