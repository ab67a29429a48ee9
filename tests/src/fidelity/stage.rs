//! The agent, and the old way where it is asked for, while a round of cases runs.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::{Options, baseline::Baseline, captured, programs::Programs};
use crate::{Agent, Engine};

/// What a case needs around it.
pub(super) struct Stage {
    pub(super) engine: Arc<Engine>,
    pub(super) agent: Agent,
    pub(super) baseline: Option<Baseline>,
    pub(super) attach: String,
    /// Every stream comes from the relay's reads.
    pub(super) relay: bool,
    directory: TempDir,
}

impl Stage {
    /// Starts the agent and waits until it captures.
    pub(super) fn open(options: &Options, programs: &Programs) -> Result<Self> {
        Self::with(options, programs, &[])
    }

    /// As [`Stage::open`], with more arguments for the agent.
    pub(super) fn with(options: &Options, programs: &Programs, more: &[&str]) -> Result<Self> {
        let directory =
            tempfile::Builder::new().prefix("fidelity-").tempdir().context("no directory for the output")?;
        let engine = Arc::clone(&programs.engine);
        let output = directory.path().join("agent");
        std::fs::create_dir(&output)?;
        let baseline = match &programs.baseline {
            Some(program) => Some(Baseline::start(program, &engine, &directory.path().join("baseline"))?),
            None => None,
        };
        let path = captured::template(&output);
        let host = engine.host();
        let arguments = ["--docker-host", &host, "--file-path", &path, "--file-encoding", "raw"];
        let from_relay = options.side == "relay";
        // An agent takes the write side unless it is told otherwise.
        let side: &[&str] = if from_relay { &["--side", "relay"] } else { &[] };
        let agent = Agent::spawn(&[&["--attach", &options.attach], side, &arguments[..], more].concat())?;
        agent.wait_ready()?;
        Ok(Self { engine, agent, baseline, attach: options.attach.clone(), relay: from_relay, directory })
    }

    /// Where the agent writes.
    pub(super) fn output(&self) -> PathBuf {
        self.directory.path().join("agent")
    }

    /// Ends the agent as an operator would.
    pub(super) fn close(self) -> Result<()> {
        let ended = self.agent.terminate()?;
        ensure!(ended.status.success(), "the agent ended with {}: {}", ended.status, ended.stderr);
        Ok(())
    }
}
