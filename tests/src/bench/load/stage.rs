//! An engine of its own, writers in its containers, and the CPU time of all that carries their output.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use capture_writers::flood::{DONE, Flood, GATE, READY};
use tempfile::TempDir;

use crate::fidelity::programs;
use crate::poll::eventually;
use crate::soak::usage::Usage;
use crate::{Container, Engine, engine, image, process};

/// Image with the writer and nothing else.
const IMAGE: &str = "capture-test/bench:latest";
/// Where the writers find the directory that they share with the benchmark.
const SHARED: &str = "/shared";
/// Containers started at a time.
const AT_ONCE: usize = 4;
/// Pause between two looks at CPU times that are to come to rest.
const REST: Duration = Duration::from_millis(500);
/// CPU time within [`REST`] that idle processes use, in seconds: two ticks of the kernel's clock.
const IDLE: f64 = 0.02;

/// An engine with the writers' image.
pub(crate) struct Stage {
    pub(crate) engine: Arc<Engine>,
    home: PathBuf,
}

/// CPU seconds of an engine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct EngineCpu {
    /// `dockerd` and `containerd`.
    pub(crate) daemon: f64,
    /// Every container's shim.
    pub(crate) shims: f64,
}

impl std::ops::Sub for EngineCpu {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { daemon: self.daemon - other.daemon, shims: self.shims - other.shims }
    }
}

impl Stage {
    /// Starts the engine.
    ///
    /// # Errors
    /// When it does not start, or the writer does not build.
    pub(crate) fn new() -> Result<Self> {
        let engine = engine::private()?;
        let directory = tempfile::tempdir().context("no directory for the image")?;
        fs::copy(programs::writer()?, directory.path().join("writer")).context("the writer")?;
        image::import(&engine, directory.path(), IMAGE)?;
        let home = engine.socket().parent().context("a socket without a directory")?.to_owned();
        Ok(Self { engine, home })
    }

    /// Where the engine keeps the logs of its containers.
    pub(crate) fn logs(&self) -> PathBuf {
        self.home.join("data/containers")
    }

    /// Starts a container for each, and waits until all are about to begin.
    ///
    /// # Errors
    /// When the engine does not start one.
    pub(crate) fn writers(&self, floods: &[Flood], driver: &str) -> Result<Writers> {
        let directory = tempfile::Builder::new().prefix("ct-bench-").tempdir().context("no directory to share")?;
        let gate = File::create(directory.path().join(GATE)).context("no gate for the writers")?;
        gate.lock().context("the gate of the writers cannot be locked")?;
        let mount = format!("{}:{SHARED}", directory.path().display());
        let start = |flood: &Flood| {
            let words = flood.arguments(SHARED);
            let words: Vec<&str> = std::iter::once("/writer").chain(words.iter().map(String::as_str)).collect();
            let options = ["--network", "none", "--log-driver", driver, "--volume", &mount];
            Container::builder(&self.engine, "bench")?.image(IMAGE).options(options).start(&words)
        };
        let mut containers = Vec::new();
        for some in floods.chunks(AT_ONCE) {
            let started = thread::scope(|scope| {
                let starters: Vec<_> = some.iter().map(|flood| scope.spawn(|| start(flood))).collect();
                let joined =
                    starters.into_iter().map(|starter| starter.join().unwrap_or_else(|_| bail!("a starter panicked")));
                joined.collect::<Result<Vec<_>>>()
            });
            containers.extend(started?);
        }
        let writers = Writers { directory, gate, containers, floods: floods.to_vec() };
        writers.wait(READY, Duration::from_mins(2)).context("the writers to be ready")?;
        Ok(writers)
    }

    /// CPU time so far.
    pub(crate) fn cpu(&self) -> EngineCpu {
        let mut sum = EngineCpu::default();
        for (pid, name) in self.processes() {
            // One that has just ended used little since the look before.
            let cpu = Usage::cpu_of(pid).unwrap_or(0.0);
            if name.starts_with("containerd-shim") {
                sum.shims += cpu;
            } else {
                sum.daemon += cpu;
            }
        }
        sum
    }

    /// Processes of the engine: their command lines name its directory.
    fn processes(&self) -> Vec<(u32, String)> {
        let home = self.home.display().to_string();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries
            .filter_map(|entry| {
                let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
                let command = fs::read_to_string(entry.path().join("cmdline")).ok()?;
                let name = fs::read_to_string(entry.path().join("comm")).ok()?.trim().to_owned();
                let is_engine = name == "dockerd" || name.starts_with("containerd");
                (is_engine && command.contains(&home)).then_some((pid, name))
            })
            .collect()
    }

    /// Waits until neither the engine nor `collector` has anything left to do.
    ///
    /// # Errors
    /// When they go on for longer than `deadline`.
    pub(crate) fn settle(&self, collector: Option<u32>, deadline: Duration) -> Result<()> {
        let all = || {
            let EngineCpu { daemon, shims } = self.cpu();
            daemon + shims + collector.and_then(Usage::cpu_of).unwrap_or(0.0)
        };
        let begun = Instant::now();
        let mut before = all();
        loop {
            thread::sleep(REST);
            let now = all();
            if now - before <= IDLE {
                return Ok(());
            }
            before = now;
            if begun.elapsed() > deadline {
                bail!("the engine or the collector is still busy after {} s", deadline.as_secs());
            }
        }
    }
}

/// Containers that are about to write, or have written.
pub(crate) struct Writers {
    directory: TempDir,
    gate: File,
    containers: Vec<Container>,
    floods: Vec<Flood>,
}

impl Writers {
    /// Lets them begin.
    ///
    /// # Errors
    /// When the gate cannot be opened.
    pub(crate) fn go(&self) -> Result<()> {
        self.gate.unlock().context("the writers cannot be told to begin")
    }

    /// Waits until each has written everything, and gives the longest time that one took.
    ///
    /// # Errors
    /// When one takes longer than `deadline`.
    pub(crate) fn done(&self, deadline: Duration) -> Result<Duration> {
        let times = self.wait(DONE, deadline).context("the writers to end")?;
        times.into_iter().max().context("no writer")
    }

    /// Their container ids.
    pub(crate) fn ids(&self) -> Vec<&str> {
        self.containers.iter().map(Container::id).collect()
    }

    /// Bytes that all of them write.
    pub(crate) fn bytes(&self) -> u64 {
        self.floods.iter().map(|flood| flood.lines * flood.length as u64).sum()
    }

    /// Lines that all of them write.
    pub(crate) fn lines(&self) -> u64 {
        self.floods.iter().map(|flood| flood.lines).sum()
    }

    /// The times in the files with this ending, of all writers.
    fn wait(&self, ending: &str, deadline: Duration) -> Result<Vec<Duration>> {
        eventually(ending, deadline, || {
            self.floods.iter().map(|flood| time_in(self.directory.path(), &flood.name, ending)).collect()
        })
    }
}

fn time_in(directory: &Path, name: &str, ending: &str) -> Option<Duration> {
    let text = fs::read_to_string(directory.join(format!("{name}{ending}"))).ok()?;
    Some(Duration::from_nanos(text.parse().unwrap_or(0)))
}

impl Drop for Writers {
    fn drop(&mut self) {
        // All at once: one after the other, each would wait for its shim.
        let mut client = self.containers.first().map(|first| first.engine().client());
        if let Some(client) = &mut client {
            let _ = process::text(client.args(["rm", "--force"]).args(self.ids()), Duration::from_mins(5));
        }
    }
}
