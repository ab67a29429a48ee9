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
             within {} ms.",
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
            let (begin, first) = (Instant::now(), seconds()?);
            let (mut last, mut longest) = (first.clone(), 0.0);
            while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                let now = seconds()?;
                longest = last.iter().zip(&now).map(|(last, now)| now - last).fold(longest, f64::max);
                last = now;
            }
            let whole = begin.elapsed().as_secs_f64() * last.len() as f64;
            let percent = (last.iter().sum::<f64>() - first.iter().sum::<f64>()) / whole * 100.0;
            Ok(Stolen { percent, longest: Duration::from_secs_f64(longest) })
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
    fn a_watch_ends_when_it_is_asked() {
        let watch = Watch::start().unwrap();
        thread::sleep(2 * LOOK);
        let Stolen { percent, longest } = watch.end().unwrap();
        assert!((0.0..=100.0).contains(&percent), "{percent}");
        assert!(longest <= Duration::from_mins(1), "{longest:?}");
    }
}
