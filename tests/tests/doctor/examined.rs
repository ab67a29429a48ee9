//! What doctor said.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use capture_tests::{engine, process, workspace};
use serde_json::Value;

const DEADLINE: Duration = Duration::from_mins(1);

/// A run of `capture-agent doctor --json`.
#[derive(Debug)]
pub struct Examined {
    pub code: i32,
    report: Value,
}

/// The agent's path, for a command that comes before it.
pub fn agent() -> String {
    workspace::agent_binary().display().to_string()
}

/// Runs doctor with arguments, against the engine of the tests.
pub fn doctor(arguments: &[&str]) -> Result<Examined> {
    with(Command::new(agent()), arguments)
}

/// Runs it by a command that is given the agent and its arguments.
pub fn with(mut command: Command, arguments: &[&str]) -> Result<Examined> {
    let host = engine::ensure()?.host();
    // A host that a caller gives wins.
    command.env("CAPTURE_AGENT_DOCKER_HOST", host).args(["doctor", "--json"]).args(arguments);
    let output = process::output(&mut command, DEADLINE)?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code().with_context(|| format!("it was killed: {complaints}"))?;
    let report: Value = serde_json::from_slice(&output.stdout).with_context(|| format!("no report: {complaints}"))?;
    ensure!(report["exit_code"] == code, "it ends with {code}, and says {report}");
    Ok(Examined { code, report })
}

/// Runs it in a mount namespace of its own, after a shell script.
pub fn after_mounts(script: &str, arguments: &[&str]) -> Result<Examined> {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c"]);
    command.arg(format!("set -e; {script}; exec \"$0\" \"$@\"")).arg(agent());
    with(command, arguments)
}

impl Examined {
    fn checks(&self) -> impl Iterator<Item = &Value> {
        self.report["checks"].as_array().into_iter().flatten()
    }

    /// Titles of the checks with a status, except those of containers: others may run some here.
    pub fn titles(&self, status: &str) -> BTreeSet<&str> {
        self.checks()
            .filter(|check| check["status"] == status && check["id"] != "container")
            .filter_map(|check| check["title"].as_str())
            .collect()
    }

    /// Insists on what failed and what is only to be looked at, and on the exit code that follows.
    pub fn has(&self, failed: &[&str], warnings: &[&str]) -> Result<()> {
        ensure!(self.titles("failed") == failed.iter().copied().collect(), "{:#}", self.report);
        ensure!(self.titles("warning") == warnings.iter().copied().collect(), "{:#}", self.report);
        let least = if failed.is_empty() { i32::from(!warnings.is_empty()) } else { 2 };
        // A container of somebody else's may be worth a look as well.
        ensure!(self.code == least || (self.code == 1 && least == 0), "{:#}", self.report);
        Ok(())
    }

    /// Insists that a check's text has some words.
    pub fn says(&self, title: &str, words: &[&str]) -> Result<()> {
        let check = self.checks().find(|check| check["title"].as_str().map(str::trim) == Some(title));
        let check = check.with_context(|| format!("no check {title}: {:#}", self.report))?;
        let text =
            format!("{} {}", check["found"].as_str().unwrap_or_default(), check["advice"].as_str().unwrap_or_default());
        for word in words {
            ensure!(text.contains(word), "{title} does not say {word}: {check:#}");
        }
        ensure!(check["status"] == "ok" || check["advice"].is_string(), "nothing to do: {check:#}");
        Ok(())
    }

    /// A check's status.
    pub fn status(&self, title: &str) -> Option<&str> {
        self.checks().find(|check| check["title"].as_str().map(str::trim) == Some(title))?["status"].as_str()
    }
}
