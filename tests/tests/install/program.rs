//! A program that runs beside the test, and what it has printed.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use capture_tests::poll::{DEADLINE, eventually};
use capture_tests::process;
use rustix::process::{Signal, kill_process};

/// Ended when dropped: by SIGTERM, which reaches what the program has started itself, and a kill would not.
pub struct Program {
    child: Child,
    printed: Arc<Mutex<String>>,
}

impl Program {
    /// Starts it, and reads what it prints on both streams.
    pub fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().display().to_string();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        let printed = Arc::new(Mutex::new(String::new()));
        follow(child.stdout.take().context("no output")?, &printed);
        follow(child.stderr.take().context("no stderr")?, &printed);
        Ok(Self { child, printed })
    }

    /// Every line so far, of both streams.
    pub fn printed(&self) -> String {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The scheduling policies of its threads of this name: the 41st field of `proc_pid_stat(5)`.
    pub fn policies_of(&self, thread: &str) -> Result<Vec<u32>> {
        let mut policies = Vec::new();
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let stat = fs::read_to_string(task?.path().join("stat"))?;
            let (head, rest) = stat.rsplit_once(')').context("no name")?;
            if head.ends_with(&format!("({thread}")) {
                // The name is the second field.
                policies.push(rest.split_whitespace().nth(41 - 3).context("too short")?.parse()?);
            }
        }
        Ok(policies)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(process::pid_of(self.child.id())?, signal).context("it has ended already")
    }

    /// Sends SIGTERM, and gives how it ended.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        eventually("it to end", DEADLINE, || self.child.try_wait().transpose())?.context("it cannot be waited for")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) && self.terminate().is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn follow(source: impl Read + Send + 'static, printed: &Arc<Mutex<String>>) {
    let printed = Arc::clone(printed);
    thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            let mut printed = printed.lock().unwrap_or_else(PoisonError::into_inner);
            printed.push_str(&line);
            printed.push('\n');
        }
    });
}
