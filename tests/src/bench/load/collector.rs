//! Who collects the output of containers: the agent, the old way, a file tailer, or nobody.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use super::stage::{Stage, Writers};
use super::{plain, tailer};
use crate::agent::{command, free_address};
use crate::fidelity::programs;
use crate::poll::{DEADLINE, eventually};
use crate::process::pid_of;
use crate::soak::scrape::Scrape;
use crate::{http, soak::usage::Usage};

/// One way to collect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Collector {
    /// Nobody does.
    Nobody,
    /// The agent; its records go to `/dev/null`, as they came.
    AgentNull,
    /// The agent as it is without any setting, JSON to its standard output, which is `/dev/null`.
    AgentDefault,
    /// The agent; its records go to a file for each container, as JSON.
    AgentJson,
    /// One log stream of the Docker API for each container, into files.
    Follower,
    /// `rsyslogd`, which reads Docker's log files.
    Tailer,
}

/// Bytes of output that a collector does not have; `None` where nobody collects.
pub(crate) type Lost = Option<u64>;

impl Collector {
    /// As a table calls it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Nobody => "no collector",
            Self::AgentNull => "capture-agent to null",
            Self::AgentDefault => "capture-agent, JSON to null",
            Self::AgentJson => "capture-agent to a JSON file",
            Self::Follower => "one API follower a container",
            Self::Tailer => "rsyslog imfile",
        }
    }

    /// Starts it, before the containers are; `None` for nobody.
    ///
    /// # Errors
    /// When it does not come to collect.
    pub(crate) fn start(self, stage: &Stage, arguments: &[&str]) -> Result<Option<Running>> {
        let output =
            tempfile::Builder::new().prefix("ct-collected-").tempdir().context("no directory to collect in")?;
        let mut address = None;
        let command = match self {
            Self::Nobody => return Ok(None),
            Self::AgentNull | Self::AgentDefault | Self::AgentJson => {
                let free = free_address()?;
                address = Some(free);
                let mut agent = command()?;
                agent.args(["run", "--listen", &free.to_string(), "--docker-host", &stage.engine.host()]);
                agent.arg("--state-dir").arg(output.path().join("state"));
                match self {
                    Self::AgentNull => _ = agent.args(["--format", "raw"]),
                    Self::AgentJson => {
                        let template = output.path().join("{container_name}.log");
                        agent.args(["--file-encoding", "json", "--file-path"]).arg(template);
                    }
                    _ => {}
                }
                agent.args(arguments);
                agent
            }
            Self::Follower => {
                let mut follower = Command::new(programs::old_way()?);
                let template = format!("{}/{{container_name}}.log", output.path().display());
                follower.args(["--docker-host", &stage.engine.host(), "--file-path", &template]);
                follower
            }
            Self::Tailer => tailer::command(&stage.logs(), output.path())?,
        };
        // Whatever ends the benchmark ends the collector.
        let mut bound = Command::new("setpriv");
        bound.args(["--pdeathsig", "KILL"]).arg(command.get_program()).args(command.get_args());
        bound.stdin(Stdio::null()).stderr(Stdio::null());
        bound.stdout(if self == Self::Follower { Stdio::piped() } else { Stdio::null() });
        let child = bound.spawn().context("the collector cannot be started")?;
        let mut running = Running { how: self, child, address, output };
        running.wait_ready()?;
        Ok(Some(running))
    }
}

/// A collector at work; ended when dropped.
pub(crate) struct Running {
    how: Collector,
    child: Child,
    address: Option<SocketAddr>,
    output: TempDir,
}

impl Running {
    fn wait_ready(&mut self) -> Result<()> {
        if let Some(address) = self.address {
            let ready = || http::get(address, "/readyz").is_ok_and(|(status, _)| status == 200).then_some(());
            return eventually("the agent to be ready", DEADLINE, ready);
        }
        if let Some(stdout) = self.child.stdout.take() {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line)?;
            if line.trim() != "following" {
                bail!("the follower said {line:?}");
            }
        }
        Ok(())
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// CPU seconds so far.
    pub(crate) fn cpu(&self) -> f64 {
        Usage::cpu_of(self.id()).unwrap_or(0.0)
    }

    /// The agent's metrics.
    ///
    /// # Errors
    /// When it is no agent, or does not answer.
    pub(crate) fn scrape(&self) -> Result<Scrape> {
        let (_, body) = http::get(self.address.context("not an agent")?, "/metrics")?;
        let series = body.lines().filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(Scrape::new(series.collect()))
    }

    /// What it has collected `lines` in. Its files are cut to nothing: in the memory that they had a moment ago, as much can be written
    /// in no longer than it must take. The host of a virtual machine takes back what was free for a while, and gives it again on the
    /// time of whoever touches it first.
    ///
    /// # Errors
    /// When it has no files.
    pub(in crate::bench) fn take_records(&self, lines: u64, line: usize) -> Result<plain::Records> {
        let length = in_files(self.output.path(), size_of)?;
        in_files(self.output.path(), |path| {
            File::options().write(true).open(path)?.set_len(0).map(|()| 0).map_err(Into::into)
        })?;
        Ok(plain::Records { count: lines, length, line })
    }

    /// What it does not have of what `writers` wrote, once it has come to rest; in the end by what it has written, not by
    /// what it says.
    ///
    /// # Errors
    /// When it still works, or its counters do not add up.
    pub(crate) fn lost(&self, writers: &Writers) -> Result<u64> {
        let expected = writers.bytes();
        match self.how {
            Collector::Nobody => bail!("nobody collects"),
            Collector::AgentNull | Collector::AgentDefault => self.settled(writers),
            Collector::AgentJson => {
                let by_itself = self.settled(writers)?;
                // A mark of a gap is a line, too.
                let lines = in_files(self.output.path(), lines_in)? - in_files(self.output.path(), marks_in)?;
                let missing = writers.lines().saturating_sub(lines) * expected / writers.lines().max(1);
                if missing != by_itself {
                    bail!("the agent says that it lost {by_itself} bytes, and its files lack {missing}");
                }
                Ok(missing)
            }
            Collector::Follower => Ok(expected.saturating_sub(in_files(self.output.path(), size_of)?)),
            Collector::Tailer => {
                let lines = in_files(self.output.path(), lines_in)?;
                Ok(writers.lines().saturating_sub(lines) * expected / writers.lines().max(1))
            }
        }
    }

    /// Bytes of all containers that the agent has lost so far, and those that it has dropped.
    ///
    /// # Errors
    /// When it is no agent, or does not answer.
    pub(crate) fn lost_so_far(&self) -> Result<(f64, f64)> {
        let scrape = self.scrape()?;
        let sum = |name| scrape.by_container(name).values().sum::<f64>();
        Ok((sum("log_capturer_lost_bytes_total"), sum("log_capturer_dropped_bytes_total")))
    }

    /// What the agent says it lost or dropped, when everything written is accounted for.
    #[expect(clippy::cast_sign_loss, reason = "counters")]
    fn settled(&self, writers: &Writers) -> Result<u64> {
        let ids = writers.ids();
        let expected = writers.bytes();
        eventually("every byte to be accounted for", Duration::from_mins(1), || {
            let scrape = self.scrape().ok()?;
            let sum = |name: &str| -> u64 {
                let by_container = scrape.by_container(name);
                ids.iter().filter_map(|id| by_container.get(id)).sum::<f64>() as u64
            };
            let lost = sum("log_capturer_lost_bytes_total") + sum("log_capturer_dropped_bytes_total");
            (sum("log_capturer_delivered_bytes_total") + lost == expected).then_some(lost)
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let asked = pid_of(self.child.id()).map(|pid| kill_process(pid, Signal::TERM));
        let ended = eventually("", Duration::from_secs(20), || self.child.try_wait().transpose());
        if asked.is_err() || ended.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The sum over the collected files.
fn in_files(directory: &Path, count: fn(&Path) -> Result<u64>) -> Result<u64> {
    let files = fs::read_dir(directory)?.flatten().map(|entry| entry.path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "log")).map(|path| count(&path)).sum()
}

fn size_of(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path)?.len())
}

/// Records that say that something is missing.
fn marks_in(path: &Path) -> Result<u64> {
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path)?);
    let finder = memchr::memmem::Finder::new("\"lost_bytes\":");
    let (mut line, mut marks) = (Vec::new(), 0);
    while reader.read_until(b'\n', &mut line)? > 0 {
        marks += u64::from(finder.find(&line).is_some());
        line.clear();
    }
    Ok(marks)
}

fn lines_in(path: &Path) -> Result<u64> {
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut lines = 0;
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(lines);
        }
        lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
        let length = bytes.len();
        reader.consume(length);
    }
}
