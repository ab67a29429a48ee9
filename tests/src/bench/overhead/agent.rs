//! The agent while calls are measured: on a CPU of its own, with a sink that costs nothing.

use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use crate::agent::{command, free_address};
use crate::poll::{DEADLINE, eventually};
use crate::process::pid_of;
use crate::{Attach, http};

/// A running agent; ended when dropped.
#[derive(Debug)]
pub(super) struct Agent {
    child: Child,
    address: SocketAddr,
    /// Where it keeps what it knows: not where an agent of the host does.
    _state: TempDir,
}

impl Agent {
    /// Starts one and waits until it captures.
    ///
    /// # Errors
    /// When it is not built, or does not become ready.
    pub(super) fn start(attach: Attach) -> Result<Self> {
        let address = free_address()?;
        let state =
            tempfile::Builder::new().prefix("ct-bench-").tempdir().context("no directory for the agent's state")?;
        let child = command()?
            .args(["run", "--attach", attach.flag(), "--listen", &address.to_string()])
            // There is no engine to ask: the names of what runs here are nobody's business.
            .args(["--docker-host", "unix:///nonexistent/docker.sock"])
            .arg("--state-dir")
            .arg(state.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("the agent cannot be started")?;
        let agent = Self { child, address, _state: state };
        let ready = || http::get(address, "/readyz").is_ok_and(|(status, _)| status == 200).then_some(());
        eventually("the agent to be ready", DEADLINE, ready)?;
        Ok(agent)
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has told what became of a container's `bytes`; whether it lost none. A write that is not copied is
    /// cheap.
    ///
    /// # Errors
    /// When it does not tell.
    pub(super) fn lost_none(&self, container: &str, bytes: u64) -> Result<bool> {
        let sum = |metric| self.sum(metric, container).ok();
        let lost = eventually(&format!("{bytes} written bytes"), Duration::from_secs(10), || {
            let lost = sum("log_capturer_lost_bytes_total")?;
            (sum("log_capturer_captured_bytes_total")? + lost == bytes).then_some(lost)
        })?;
        Ok(lost == 0)
    }

    /// A metric of a container, over its streams and reasons.
    #[expect(clippy::cast_sign_loss, reason = "counters")]
    fn sum(&self, metric: &str, container: &str) -> Result<u64> {
        let (_, body) = http::get(self.address, "/metrics")?;
        let values = body
            .lines()
            .filter(|line| line.starts_with(metric) && line.contains(container))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        Ok(values.sum::<f64>() as u64)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // One that ends by itself detaches at once, and not when the kernel gets to it.
        let asked = pid_of(self.child.id()).map(|pid| kill_process(pid, Signal::TERM));
        let ended = eventually("", Duration::from_secs(10), || self.child.try_wait().transpose());
        if asked.is_err() || ended.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
