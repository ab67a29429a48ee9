//! What a table was measured on, without telling whose machine it is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::system::uname;

use crate::process::text;

/// The commit, with a mark where the tree differs from it.
fn commit() -> Result<String> {
    let mut git = Command::new("git");
    git.current_dir(env!("CARGO_MANIFEST_DIR")).args(["describe", "--always", "--dirty", "--abbrev=7", "--exclude=*"]);
    text(&mut git, Duration::from_secs(10)).context("the commit is not known")
}

/// One line: commit, cores, architecture, kernel.
///
/// # Errors
/// Where the repository cannot be asked.
pub(super) fn describe() -> Result<String> {
    let system = uname();
    let release = system.release().to_string_lossy().into_owned();
    // The rest of a release names a build, and may name its builder.
    let version = release.split('-').next().unwrap_or(&release);
    Ok(format!(
        "Commit `{}`; {} cores, {}, Linux {version}.",
        commit()?,
        cpus().len(),
        system.machine().to_string_lossy()
    ))
}

/// The CPUs that this process may run on.
pub(super) fn cpus() -> Vec<usize> {
    let Ok(allowed) = rustix::thread::sched_getaffinity(None) else { return Vec::new() };
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect()
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
