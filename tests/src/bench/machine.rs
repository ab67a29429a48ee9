//! What a table was measured on, without telling whose machine it is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::system::uname;

use crate::process::text;
use crate::soak::usage::TICKS;

/// The commit, with a mark where the tree differs from it.
fn commit() -> Result<String> {
    let mut git = Command::new("git");
    git.current_dir(env!("CARGO_MANIFEST_DIR")).args(["describe", "--always", "--dirty", "--abbrev=7", "--exclude=*"]);
    text(&mut git, Duration::from_secs(10)).context("the commit is not known")
}

/// What a processor calls itself (`/proc/cpuinfo`); where it does not, its architecture.
fn processor() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    model_in(&cpuinfo).unwrap_or_else(|| uname().machine().to_string_lossy().into_owned())
}

fn model_in(cpuinfo: &str) -> Option<String> {
    let (_, model) = cpuinfo.lines().find(|line| line.starts_with("model name"))?.split_once(':')?;
    Some(model.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// One line: commit, cores, processor, kernel.
///
/// # Errors
/// Where the repository cannot be asked.
pub(super) fn describe() -> Result<String> {
    let system = uname();
    let release = system.release().to_string_lossy().into_owned();
    // The rest of a release names a build, and may name its builder.
    let version = release.split('-').next().unwrap_or(&release);
    Ok(format!("Commit `{}`; {} cores, {}, Linux {version}.", commit()?, cpus().len(), processor()))
}

/// The CPUs that this process may run on.
pub(super) fn cpus() -> Vec<usize> {
    let Ok(allowed) = rustix::thread::sched_getaffinity(None) else { return Vec::new() };
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect()
}

/// CPU seconds that all CPUs of the host together have been busy (`proc_stat(5)`).
///
/// # Errors
/// Where the kernel does not tell.
pub(super) fn busy() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat").context("/proc/stat")?;
    busy_of(&stat).context("/proc/stat says nothing of CPUs")
}

/// All of the first eight times but the fourth and fifth, which are idle: those after them are parts of the first two.
fn busy_of(stat: &str) -> Option<f64> {
    let times = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8);
    let busy = times.enumerate().filter(|(place, _)| !matches!(place, 3 | 4));
    let ticks = busy.map(|(_, ticks)| ticks.parse::<f64>()).sum::<Result<f64, _>>().ok()?;
    Some(ticks / TICKS)
}

/// Where pages and plots go.
pub(super) fn results() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/results")
}

/// Writes a page of results.
///
/// # Errors
/// Where it cannot be written.
pub(super) fn write_page(name: &str, page: &str) -> Result<()> {
    let path = results().join(name).with_extension("md");
    std::fs::write(&path, page).with_context(|| format!("docs/results/{name}.md cannot be written"))
}

#[cfg(test)]
mod tests {
    use super::{busy_of, model_in};

    #[test]
    fn a_processor_has_one_name() {
        let cpuinfo =
            "processor\t: 0\nmodel\t\t: 85\nmodel name\t: A  CPU @ 2.50GHz\nprocessor\t: 1\nmodel name\t: B\n";
        assert_eq!(model_in(cpuinfo).as_deref(), Some("A CPU @ 2.50GHz"));
        assert_eq!(model_in("processor\t: 0\nBogoMIPS\t: 50.00\n"), None);
    }

    #[test]
    fn busy_is_all_but_idle_and_what_is_counted_twice() {
        let stat = "cpu  1000 200 300 99999 88888 40 5 60 777 66\ncpu0 1 2 3 4 5 6 7 8 9 0\n";
        assert_eq!(busy_of(stat), Some(16.05));
        assert_eq!(busy_of("intr 5"), None);
    }
}
