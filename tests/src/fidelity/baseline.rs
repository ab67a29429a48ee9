//! The old way beside the agent: `bin/baseline.rs` as a child.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail};

use super::captured;
use crate::Engine;

/// A running collector; killed when dropped.
pub(super) struct Baseline {
    child: Child,
    pub(super) output: PathBuf,
}

impl Baseline {
    /// Starts it and waits until it listens to the engine's events.
    pub(super) fn start(program: &Path, engine: &Engine, output: &Path) -> Result<Self> {
        std::fs::create_dir(output)?;
        let mut child = Command::new(program)
            .args(["--docker-host", &engine.host(), "--file-path", &captured::template(output)])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("the baseline cannot be started")?;
        let lines = child.stdout.take().context("the baseline has no output")?;
        let baseline = Self { child, output: output.to_owned() };
        match BufReader::new(lines).lines().next() {
            Some(Ok(line)) if line == "following" => Ok(baseline),
            _ => bail!("the baseline does not follow"),
        }
    }
}

impl Drop for Baseline {
    fn drop(&mut self) {
        // Nothing is left to do when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
