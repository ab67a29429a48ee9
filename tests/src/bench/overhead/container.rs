//! Where the measured program runs: as any process, or in what the agent takes for a container.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::calls::{Operation, Sample};
use crate::poll::eventually;

/// How long one run of the measured program may take.
const DEADLINE: Duration = Duration::from_mins(2);

/// How the measured program is to run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) cpu: usize,
    pub(super) samples: u32,
    pub(super) only: Option<Operation>,
}

/// Runs a command as a runtime would: no descriptors but the three, and so the table of descriptors that a process begins with.
/// The one of whoever started this may have grown, and a copy has the size that what is open needs.
const WITHOUT_DESCRIPTORS: &str = r#"
for file in /proc/self/fd/*; do
    descriptor=${file##*/}
    [ "$descriptor" -le 2 ] || eval "exec $descriptor>&-"
done
"$0" "$@"
exit $?
"#;

impl Run {
    /// Runs the measured program; with a `cgroup`, in that.
    ///
    /// # Errors
    /// When it fails, or does not end.
    pub(super) fn run(self, cgroup: Option<&Path>) -> Result<Vec<Sample>> {
        let samples = tempfile::NamedTempFile::new().context("no file for the samples")?;
        let (reader, writer) = rustix::pipe::pipe().context("no pipe")?;
        let mut command = Command::new("bash");
        command.args(["-c", WITHOUT_DESCRIPTORS]).arg(std::env::current_exe()?).arg("calls");
        command.args(["--cpu", &self.cpu.to_string(), "--samples", &self.samples.to_string()]);
        if let Some(only) = self.only {
            command.args(["--only", only.name()]);
        }
        if let Some(cgroup) = cgroup {
            command.arg("--cgroup").arg(cgroup);
        }
        command.stdin(reader).stdout::<OwnedFd>(writer).stderr(Stdio::from(File::create(samples.path())?));
        let mut child = command.spawn().context("the measured program cannot be started")?;
        // Its ends of the pipe.
        drop(command);
        let status = eventually("the measured program to end", DEADLINE, || child.try_wait().transpose());
        if status.is_err() {
            // It may have ended just now.
            let _ = child.kill();
            let _ = child.wait();
        }
        let text = fs::read_to_string(samples.path()).context("the samples")?;
        if !status??.success() {
            bail!("the measured program failed: {}", text.lines().last().unwrap_or_default());
        }
        text.lines().map(Sample::parse).collect()
    }
}
