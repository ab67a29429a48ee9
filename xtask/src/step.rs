//! A long step: runs a program, shows that it moves, keeps the whole log.

use std::fs::{self, File};
use std::io::{IsTerminal, Write, stderr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// How often a terminal is redrawn; also the longest time a finished step goes unnoticed.
const REDRAW: Duration = Duration::from_millis(150);
/// How often a line is written where there is no terminal to redraw (CI logs).
const REPORT: Duration = Duration::from_secs(5);
/// Lines of the log that a failure shows.
const TAIL: usize = 20;

/// Runs `command`, with its output in `target/xtask/<name>.log`, and its last line as progress on stderr.
pub fn run(name: &str, title: &str, command: &mut Command) -> Result<()> {
    let log = log_path(name)?;
    let file = File::create(&log).with_context(|| format!("{}: cannot be written", log.display()))?;
    let copy = file.try_clone().context("the log cannot be shared with the step")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(copy)
        .spawn()
        .with_context(|| format!("{title}: {} cannot be started", command.get_program().display()))?;

    let mut progress = Progress::start(title);
    let status = loop {
        if let Some(status) = child.try_wait().context("the step cannot be waited for")? {
            break status;
        }
        progress.show(&log);
        thread::sleep(REDRAW);
    };
    progress.clear();
    if status.success() {
        return Ok(());
    }
    eprintln!("  … {title}, last lines of {}:", log.display());
    for line in tail(&log, TAIL) {
        eprintln!("    {line}");
    }
    bail!("{title}: {} failed ({status}); the whole log is {}", command.get_program().display(), log.display())
}

fn log_path(name: &str) -> Result<PathBuf> {
    let directory = workspace::target_dir().join("xtask");
    fs::create_dir_all(&directory).with_context(|| format!("{}: cannot be made", directory.display()))?;
    Ok(directory.join(format!("{name}.log")))
}

struct Progress<'a> {
    title: &'a str,
    begun: Instant,
    reported: Instant,
    terminal: bool,
}

impl<'a> Progress<'a> {
    fn start(title: &'a str) -> Self {
        let now = Instant::now();
        Self { title, begun: now, reported: now, terminal: stderr().is_terminal() }
    }

    fn show(&mut self, log: &Path) {
        if !self.terminal && self.reported.elapsed() < REPORT {
            return;
        }
        self.reported = Instant::now();
        let last = tail(log, 1).pop().unwrap_or_default();
        let text = format!("  … {} {:3} s  {last}", self.title, self.begun.elapsed().as_secs());
        let short: String = text.chars().take(110).collect();
        if self.terminal {
            eprint!("\r\x1b[2K{short}");
            // Progress that cannot be shown is no reason to stop the step.
            let _ = stderr().flush();
        } else {
            eprintln!("{short}");
        }
    }

    fn clear(&self) {
        if self.terminal {
            eprint!("\r\x1b[2K");
        }
    }
}

fn tail(log: &Path, count: usize) -> Vec<String> {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.split(['\n', '\r']).map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|&line| line.to_owned()).collect()
}
