//! What a process holds, as the kernel tells it.

use std::fs;

use anyhow::{Context, Result};

/// Clock ticks of a second in `/proc/PID/stat`: `USER_HZ`, which is 100 in the ABI of every architecture that Docker runs on.
pub(crate) const TICKS: f64 = 100.0;

/// Files, threads, memory and CPU time of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Open file descriptors.
    pub fds: u64,
    /// Threads.
    pub threads: u64,
    /// Resident memory in bytes, counted page by page (`smaps_rollup`): the figure in `status` may lag by megabytes on
    /// machines with many CPUs, and a bar of 2 MiB is held against it.
    pub rss: u64,
    /// User and system CPU time in seconds since its start.
    pub cpu: f64,
}

impl Usage {
    /// Looks at a process.
    ///
    /// # Errors
    /// When it is gone.
    pub fn of(pid: u32) -> Result<Self> {
        let read = |file: &str| {
            fs::read_to_string(format!("/proc/{pid}/{file}")).with_context(|| format!("process {pid}: {file}"))
        };
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).with_context(|| format!("process {pid} is gone"))?.count();
        let threads = field(&read("status")?, "Threads:").context("no count of threads")?;
        let rss = field(&read("smaps_rollup")?, "Rss:").context("no resident memory")? * 1024;
        Ok(Self { fds: fds as u64, threads, rss, cpu: cpu(&read("stat")?).context("no CPU time")? })
    }
}

#[cfg(feature = "bench")]
impl Usage {
    /// CPU seconds of a process, its ended threads included; `None` where it is gone.
    pub(crate) fn cpu_of(pid: u32) -> Option<f64> {
        cpu(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }
}

/// The number behind a name in `status` or `smaps_rollup`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// `utime` and `stime`, fields 14 and 15 of `proc_pid_stat(5)`; the name in brackets may hold spaces.
fn cpu(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_threads_and_memory() -> Result<()> {
        let usage = Usage::of(std::process::id())?;
        assert!(usage.fds >= 3 && usage.threads >= 1 && usage.rss > 100_000, "{usage:?}");
        Ok(())
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0";
        assert_eq!(cpu(stat), Some(2.0));
    }
}
