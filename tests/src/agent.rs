//! The agent under test: started, listened to, asked, ended.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use crate::poll::{DEADLINE, eventually};
use crate::process::pid_of;
use crate::record::Record;
use crate::{http, workspace};

/// How the agent hooks into the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// One tracepoint per system call.
    Syscalls,
    /// One raw tracepoint for all of them.
    Raw,
}

impl Attach {
    /// The value that `--attach` takes.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::Syscalls => "syscalls",
            Self::Raw => "raw",
        }
    }
}

/// A running `capture-agent run`; killed when dropped.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    address: SocketAddr,
    /// As it came. Its reader does nothing else: an agent that has to wait for a test drops records, and rightly so.
    unread: Arc<Mutex<Vec<Vec<u8>>>>,
    printed: Mutex<Printed>,
    complaints: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    _state: TempDir,
}

/// What the agent has printed, read.
#[derive(Debug, Default)]
struct Printed {
    records: Vec<Record>,
    plain_lines: Vec<String>,
}

/// What is left of an agent that ended.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// Every record it printed, up to its last.
    pub records: Vec<Record>,
    /// What it said on standard error.
    pub stderr: String,
}

impl Agent {
    /// Starts `capture-agent run` in an attach mode and waits until it captures.
    ///
    /// # Errors
    /// When the agent is not built, ends, or is not ready in time; with what it said.
    pub fn start(attach: Attach, arguments: &[&str]) -> Result<Self> {
        let agent = Self::spawn(&[&["--attach", attach.flag()], arguments].concat())?;
        agent.wait_ready()?;
        Ok(agent)
    }

    /// Starts `capture-agent run` with the arguments, on a port of its own, and does not wait.
    ///
    /// # Errors
    /// When the agent is not built.
    pub fn spawn(arguments: &[&str]) -> Result<Self> {
        Self::spawn_at(free_address()?, arguments)
    }

    /// As [`Agent::spawn`], on an address of the caller's choice.
    ///
    /// # Errors
    /// When the agent is not built.
    pub fn spawn_at(address: SocketAddr, arguments: &[&str]) -> Result<Self> {
        // An argument of the caller's goes before.
        let state = tempfile::Builder::new().prefix("ct-state-").tempdir().context("no directory for the state")?;
        // Whatever ends the test ends the agent, or it would stay attached to the kernel.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(binary()?)
            .env("CAPTURE_AGENT_STATE_DIR", state.path())
            .arg("run")
            .args(["--listen", &address.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("the agent cannot be started")?;
        let output = child.stdout.take().context("the agent has no output")?;
        let errors = child.stderr.take().context("the agent has no stderr")?;
        let unread = Arc::new(Mutex::new(Vec::new()));
        let complaints = Arc::new(Mutex::new(String::new()));
        let readers = vec![collect_lines(output, Arc::clone(&unread)), collect_text(errors, Arc::clone(&complaints))];
        Ok(Self { child, address, unread, printed: Mutex::default(), complaints, readers, _state: state })
    }

    /// Waits until `/readyz` says that it captures.
    ///
    /// # Errors
    /// When it does not within half a minute.
    pub fn wait_ready(&self) -> Result<()> {
        let ready = || http::get(self.address, "/readyz").is_ok_and(|(status, _)| status == 200).then_some(());
        eventually("the agent to be ready", DEADLINE, ready)
            .with_context(|| format!("the agent said: {}", self.stderr()))
    }

    /// Everything it has printed so far.
    fn printed(&self) -> MutexGuard<'_, Printed> {
        let mut printed = lock(&self.printed);
        let unread = std::mem::take(&mut *lock(&self.unread));
        for line in unread {
            let line = String::from_utf8_lossy(&line).into_owned();
            match Record::parse(&line) {
                Ok(record) => printed.records.push(record),
                Err(_) => printed.plain_lines.push(line),
            }
        }
        printed
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where it serves its metrics.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has said on standard error.
    #[must_use]
    pub fn stderr(&self) -> String {
        lock(&self.complaints).clone()
    }

    /// What it has printed that is no JSON record: everything with `--format text`, nothing otherwise.
    #[must_use]
    pub fn plain_lines(&self) -> Vec<String> {
        self.printed().plain_lines.clone()
    }

    /// Its records of the container with this name, so far.
    #[must_use]
    pub fn records_for(&self, name: &str) -> Vec<Record> {
        self.printed().records.iter().filter(|record| record.is_named(name)).cloned().collect()
    }

    /// Its records of the container with this id, so far.
    #[must_use]
    pub fn records_of(&self, id: &str) -> Vec<Record> {
        self.printed().records.iter().filter(|record| record.is_of(id)).cloned().collect()
    }

    /// Its records of exactly this message, whoever wrote it, so far.
    #[must_use]
    pub fn records_saying(&self, message: &str) -> Vec<Record> {
        self.printed().records.iter().filter(|record| record.message() == message).cloned().collect()
    }

    /// The messages of the container with this name, so far.
    #[must_use]
    pub fn messages_for(&self, name: &str) -> Vec<String> {
        self.printed().records.iter().filter(|record| record.is_named(name)).map(|r| r.message().to_owned()).collect()
    }

    /// Waits until its records satisfy `done`.
    ///
    /// # Errors
    /// When they do not within half a minute; with what the agent said.
    pub fn wait_until(&self, what: &str, done: impl Fn(&[Record]) -> bool) -> Result<()> {
        eventually(what, DEADLINE, || done(&self.printed().records).then_some(()))
            .with_context(|| format!("the agent said: {}", self.stderr()))
    }

    /// Waits for a message of the container with this name, and gives the records up to then.
    ///
    /// # Errors
    /// As [`Agent::wait_until`].
    pub fn wait_for_message(&self, name: &str, message: &str) -> Result<Vec<Record>> {
        self.wait_until(&format!("`{message}` of {name}"), |records| {
            records.iter().any(|record| record.is_named(name) && record.message() == message)
        })?;
        Ok(self.records_for(name))
    }

    /// The value of each of its metrics, by name with labels as printed.
    ///
    /// # Errors
    /// When it does not answer, or a line is not in the text format.
    pub fn metrics(&self) -> Result<HashMap<String, f64>> {
        metrics_at(self.address)
    }

    /// Sends a signal that does not end it.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(pid_of(self.child.id())?, signal).context("the agent is gone already")
    }

    /// Sends SIGTERM, waits for the end, and gives everything it printed.
    ///
    /// # Errors
    /// When it is still there after half a minute.
    pub fn terminate(self) -> Result<Ended> {
        self.end(Signal::TERM)
    }

    /// As [`Agent::terminate`], with another signal.
    ///
    /// # Errors
    /// When it is still there after half a minute.
    pub fn end(self, signal: Signal) -> Result<Ended> {
        kill_process(pid_of(self.child.id())?, signal).context("the agent is gone already")?;
        self.wait()
    }

    /// Waits until it ends by itself, and gives everything it printed.
    ///
    /// # Errors
    /// When it is still there after half a minute.
    pub fn wait(mut self) -> Result<Ended> {
        let status = eventually("the agent to end", DEADLINE, || self.child.try_wait().transpose())??;
        for reader in self.readers.drain(..) {
            if reader.join().is_err() {
                bail!("a reader of the agent's output panicked");
            }
        }
        let records = std::mem::take(&mut self.printed().records);
        Ok(Ended { status, records, stderr: self.stderr() })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // After `end` there is nothing left to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// The messages of the container with this name.
    #[must_use]
    pub fn messages_for(&self, name: &str) -> Vec<&str> {
        self.records.iter().filter(|record| record.is_named(name)).map(Record::message).collect()
    }
}

/// The value of each metric of the agent that listens at an address, by name with labels as printed.
///
/// # Errors
/// When it does not answer, or a line is not in the text format.
pub fn metrics_at(address: SocketAddr) -> Result<HashMap<String, f64>> {
    let (status, body) = http::get(address, "/metrics")?;
    ensure!(status == 200, "/metrics answers {status}");
    body.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').with_context(|| format!("not a metric: {line}"))?;
            Ok((name.to_owned(), value.parse().with_context(|| format!("not a value: {line}"))?))
        })
        .collect()
}

/// The agent's binary, to be given any arguments.
///
/// # Errors
/// When it is not built.
pub fn command() -> Result<Command> {
    binary().map(Command::new)
}

fn binary() -> Result<PathBuf> {
    let binary = workspace::agent_binary();
    ensure!(binary.is_file(), "{}: not built; run `cargo xtask build --release`", binary.display());
    Ok(binary)
}

/// An address of this machine on which nothing listens.
///
/// # Errors
/// When the machine has no free port.
pub fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    listener.local_addr().context("the free port has no address")
}

/// How long a command of the agent that ends by itself may take.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(30);

fn collect_lines(source: impl Read + Send + 'static, lines: Arc<Mutex<Vec<Vec<u8>>>>) -> JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::with_capacity(1 << 20, source).split(b'\n').map_while(Result::ok) {
            lock(&lines).push(line);
        }
    })
}

fn collect_text(mut source: impl Read + Send + 'static, text: Arc<Mutex<String>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = source.read(&mut piece) {
            lock(&text).push_str(&String::from_utf8_lossy(&piece[..length]));
        }
    })
}

/// A reader that panicked has still kept what it read.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
