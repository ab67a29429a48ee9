//! What checks found, for people and for programs.

use std::io::{self, Write};

use serde::Serialize;

use crate::kernel::KernelError;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As it should be.
    Ok,
    /// The agent runs, and something will be missing.
    Warning,
    /// The agent does not run.
    Failed,
}

impl Status {
    fn mark(self) -> &'static str {
        match self {
            Self::Ok => "✓",
            Self::Warning => "!",
            Self::Failed => "✗",
        }
    }

    /// Colour of the mark (ECMA-48 SGR).
    fn colour(self) -> u8 {
        match self {
            Self::Ok => 32,
            Self::Warning => 33,
            Self::Failed => 31,
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What it is about, for programs: stays the same. Those of one kind, such as containers, share it.
    pub id: &'static str,
    /// What it is about, for people.
    pub title: String,
    /// How it came out.
    pub status: Status,
    /// What was found.
    pub found: String,
    /// What to do about it; `None` where there is nothing to do.
    pub advice: Option<String>,
}

impl Check {
    /// All is well.
    #[must_use]
    pub fn ok(id: &'static str, found: impl Into<String>) -> Self {
        Self { id, title: id.replace('_', " "), status: Status::Ok, found: found.into(), advice: None }
    }

    /// Something will be missing.
    #[must_use]
    pub fn warning(id: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { status: Status::Warning, advice: Some(advice.into()), ..Self::ok(id, found) }
    }

    /// The agent cannot run.
    #[must_use]
    pub fn failed(id: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { status: Status::Failed, ..Self::warning(id, found, advice) }
    }

    /// The agent cannot run, as it would say itself: what is wrong, a semicolon, what to do.
    #[must_use]
    pub fn refused(id: &'static str, error: &KernelError) -> Self {
        let text = error.to_string();
        // What the kernel said may have semicolons, and stands before the last.
        let (found, advice) = text.rsplit_once("; ").unwrap_or((&text, "please report it"));
        Self::failed(id, found, advice)
    }

    /// The same under a heading of its own.
    #[must_use]
    pub fn titled(self, title: impl Into<String>) -> Self {
        Self { title: title.into(), ..self }
    }
}

/// What all checks together say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing is missing.
    Ok,
    /// The agent runs, and something will be missing.
    Degraded,
    /// The agent does not run.
    CannotRun,
}

/// All checks.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The agent's version.
    pub version: &'static str,
    /// What they say together.
    pub verdict: Verdict,
    /// Of `capture-agent doctor`.
    pub exit_code: u8,
    /// In the order in which they matter.
    pub checks: Vec<Check>,
}

impl Report {
    /// Sums up.
    #[must_use]
    pub fn new(checks: Vec<Check>) -> Self {
        let worst = checks.iter().map(|check| check.status).max().unwrap_or(Status::Ok);
        let (verdict, exit_code) = match worst {
            Status::Ok => (Verdict::Ok, 0),
            Status::Warning => (Verdict::Degraded, 1),
            Status::Failed => (Verdict::CannotRun, 2),
        };
        Self { version: env!("CARGO_PKG_VERSION"), verdict, exit_code, checks }
    }

    /// Prints a table.
    ///
    /// # Errors
    ///
    /// Whatever `out` says.
    pub fn print(&self, colours: bool, out: &mut impl Write) -> io::Result<()> {
        let width = self.checks.iter().map(|check| check.title.chars().count()).max().unwrap_or_default();
        for check in &self.checks {
            let mark = check.status.mark();
            if colours {
                write!(out, "\x1b[{}m{mark}\x1b[0m", check.status.colour())?;
            } else {
                write!(out, "{mark}")?;
            }
            writeln!(out, " {:width$}  {}", check.title, check.found)?;
            if let Some(advice) = &check.advice {
                writeln!(out, "  {:width$}  → {advice}", "")?;
            }
        }
        let count = |status| self.checks.iter().filter(|check| check.status == status).count();
        let (failed, warnings) = (count(Status::Failed), count(Status::Warning));
        let sum = match self.verdict {
            Verdict::Ok => "the agent can run here".to_owned(),
            Verdict::Degraded => format!("the agent can run here; {warnings} to look at (!)"),
            Verdict::CannotRun => {
                format!("the agent cannot run here: {failed} in the way (✗), {warnings} to look at (!)")
            }
        };
        writeln!(out, "\n{} checks: {sum}", self.checks.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(checks: Vec<Check>) -> (u8, String) {
        let (report, mut out) = (Report::new(checks), Vec::new());
        report.print(false, &mut out).unwrap();
        (report.exit_code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_worst_check_decides() {
        let (ok, warning) = (Check::ok("kernel", "new"), Check::warning("tracefs", "none", "mount it"));
        assert_eq!(printed(vec![ok.clone()]).0, 0);
        assert_eq!(
            printed(vec![ok.clone(), warning.clone()]),
            (
                1,
                "✓ kernel   new\n! tracefs  none\n           → mount it\n\n\
                 2 checks: the agent can run here; 1 to look at (!)\n"
                    .to_owned()
            )
        );
        let failed = Check::refused("btf", &KernelError::NoBtf);
        assert!(
            failed.advice.as_deref().is_some_and(|advice| advice.starts_with("mount the host's /sys")),
            "{failed:?}"
        );
        assert!(failed.found.ends_with("/sys/kernel/btf/vmlinux does not exist"), "{failed:?}");
        assert_eq!(printed(vec![failed, warning, ok]).0, 2);
    }
}
