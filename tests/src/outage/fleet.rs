//! Containers that write numbered lines, and can be made to hold still.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use capture_writers::numbered::{self, HOLD, Numbered, Report};

use crate::fidelity::programs;
use crate::poll::{DEADLINE, eventually};
use crate::{Container, Engine, image, process};

/// Image with the writer and nothing else.
const IMAGE: &str = "capture-test/numbered:latest";
/// Where the writers find the shared directory.
const CONTROL: &str = "/control";
/// Started at a time.
const AT_ONCE: usize = 4;
/// For containers that end when they are told to, on a loaded machine.
const STOP_DEADLINE: Duration = Duration::from_mins(2);

/// A container and who writes in it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) container: Container,
    pub(super) seed: u64,
}

/// The containers, removed when dropped.
#[derive(Debug)]
pub(super) struct Fleet {
    engine: Arc<Engine>,
    control: PathBuf,
    pub(super) members: Vec<Member>,
}

impl Fleet {
    /// Starts `count` containers that write `rate` lines a second each, and share the directory `control`.
    ///
    /// # Errors
    /// When the writer does not build, or the engine does not start one.
    pub(super) fn start(engine: &Arc<Engine>, control: &Path, count: u32, rate: u64) -> Result<Self> {
        let root = tempfile::tempdir().context("no directory for the image")?;
        fs::copy(programs::writer()?, root.path().join("writer")).context("the writer")?;
        image::import(engine, root.path(), IMAGE)?;
        let numbers = Mutex::new(0..count);
        let next = || numbers.lock().unwrap_or_else(PoisonError::into_inner).next();
        let start_some = || -> Result<Vec<Member>> {
            let mut started = Vec::new();
            while let Some(number) = next() {
                started.push(start(engine, control, u64::from(std::process::id()) << 32 | u64::from(number), rate)?);
            }
            Ok(started)
        };
        let members = thread::scope(|scope| {
            let starters: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(start_some)).collect();
            let joined =
                starters.into_iter().map(|starter| starter.join().unwrap_or_else(|_| bail!("a starter panicked")));
            joined.collect::<Result<Vec<_>>>()
        })?;
        let members = members.into_iter().flatten().collect();
        Ok(Self { engine: Arc::clone(engine), control: control.to_owned(), members })
    }

    /// Has all of them hold still, and waits until they do.
    ///
    /// # Errors
    /// When one does not.
    pub(super) fn hold(&self) -> Result<()> {
        fs::write(self.control.join(HOLD), "").context("the writers cannot be told")?;
        let all_hold = || self.members.iter().all(|member| numbered::held(&self.control, member.seed).exists());
        eventually("the writers hold still", DEADLINE, || all_hold().then_some(()))
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// When they did not hold.
    pub(super) fn release(&self) -> Result<()> {
        fs::remove_file(self.control.join(HOLD)).context("the writers cannot be told")
    }

    /// Has all of them end, and gives what each says of its pace.
    ///
    /// # Errors
    /// When one does not end by itself, or had ended before.
    pub(super) fn stop(&self) -> Result<BTreeMap<u64, Report>> {
        let mut client = self.engine.client();
        client.args(["stop", "--time", "60"]).args(self.members.iter().map(|member| member.container.id()));
        process::text(&mut client, STOP_DEADLINE)?;
        let mut reports = BTreeMap::new();
        for Member { container, seed } in &self.members {
            let status = container.wait()?;
            ensure!(status == "0", "{} ended with status {status}", container.name());
            let report = Report::load(&self.control, *seed).with_context(|| container.name().to_owned())?;
            reports.insert(*seed, report);
        }
        Ok(reports)
    }

    /// When lines of a writer were written, as Docker's own log has them: by number, in ns since the Unix epoch.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(super) fn times(&self, member: &Member) -> Result<Vec<Option<u64>>> {
        let path = self.engine.docker(["inspect", "--format", "{{.LogPath}}", member.container.id()])?;
        let log = File::open(&path).with_context(|| path.clone())?;
        let mut times = Vec::new();
        for line in BufReader::new(log).lines() {
            let entry: serde_json::Value = serde_json::from_str(&line?).with_context(|| path.clone())?;
            let text = entry["log"].as_str().unwrap_or_default();
            if let Some(line) = numbered::read(text.trim_end_matches('\n').as_bytes()) {
                let place = line.number as usize;
                if times.len() <= place {
                    times.resize(place + 1, None);
                }
                times[place] = Some(line.time);
            }
        }
        Ok(times)
    }
}

/// Pattern of the names of this process's containers: whatever else runs on the machine is none of the agent's business.
pub(super) fn names() -> String {
    format!("ct-{}-outage-*", std::process::id())
}

fn start(engine: &Arc<Engine>, control: &Path, seed: u64, rate: u64) -> Result<Member> {
    let words = Numbered { seed, rate, control: CONTROL.into() }.arguments();
    let words: Vec<&str> = std::iter::once("/writer").chain(words.iter().map(String::as_str)).collect();
    let volume = format!("{}:{CONTROL}", control.display());
    // One file, so that nothing of it is gone when it is read.
    let options = ["--network", "none", "--log-driver", "json-file", "--volume", &volume];
    let container = Container::builder(engine, "outage")?.image(IMAGE).options(options).start(&words)?;
    Ok(Member { container, seed })
}
