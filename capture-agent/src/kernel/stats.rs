//! What the kernel counts of the programs themselves.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use aya::sys::{Stats, enable_stats};

use super::load::Kernel;

/// How long after a reading the statistics stay on: longer than any usual scrape interval.
const IDLE: Duration = Duration::from_mins(3);

/// Runs of one program and the time they took, while statistics were on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramStats {
    /// Its name in the object.
    pub program: String,
    /// Runs.
    pub runs: u64,
    /// All of them together.
    pub time: Duration,
}

/// Run statistics of the programs. They cost each run two readings of the clock, so they are on only while somebody
/// reads them, and only if the user wants them at all.
#[derive(Default)]
pub struct BpfStats {
    kernel: OnceLock<Arc<Mutex<Kernel>>>,
    on: Mutex<Option<On>>,
}

struct On {
    last_read: Instant,
    /// Closing it turns the statistics off, if nobody else holds one.
    _held: OwnedFd,
}

impl BpfStats {
    /// Says which programs to read, once they are loaded.
    pub fn read_from(&self, kernel: Arc<Mutex<Kernel>>) {
        let _ = self.kernel.set(kernel);
    }

    /// Reads the statistics, and turns them on for the next time. Empty before there is a kernel side.
    pub fn read(&self) -> Vec<ProgramStats> {
        let Some(kernel) = self.kernel.get() else { return Vec::new() };
        let mut on = self.on.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *on {
            Some(on) => on.last_read = Instant::now(),
            None => match enable_stats(Stats::RunTime) {
                Ok(held) => *on = Some(On { last_read: Instant::now(), _held: held }),
                Err(error) => tracing::warn!(%error, "the kernel does not turn on the run statistics of BPF programs"),
            },
        }
        drop(on);
        kernel.lock().unwrap_or_else(PoisonError::into_inner).run_stats()
    }

    /// Turns the statistics off if nobody has read them for a while.
    pub fn expire(&self) {
        let mut on = self.on.lock().unwrap_or_else(PoisonError::into_inner);
        on.take_if(|on| on.last_read.elapsed() > IDLE);
    }
}

impl Kernel {
    fn run_stats(&self) -> Vec<ProgramStats> {
        let programs = self.ebpf.programs().filter_map(|(name, program)| {
            // Programs of the other attach mode are not loaded.
            let info = program.info().ok()?;
            Some(ProgramStats { program: name.to_owned(), runs: info.run_count(), time: info.run_time() })
        });
        let mut stats: Vec<_> = programs.collect();
        stats.sort_by(|a, b| a.program.cmp(&b.program));
        stats
    }

    /// Runs of the programs that the kernel skipped, over all of them (`recursion_misses` of `struct bpf_prog_info`).
    #[must_use]
    pub fn missed_runs(&self) -> u64 {
        self.ebpf
            .programs()
            .filter_map(|(_, program)| program.fd().ok())
            .filter_map(|fd| fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd())).ok())
            .filter_map(|info| {
                info.lines().find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse::<u64>().ok())
            })
            .sum()
    }
}
