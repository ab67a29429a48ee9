//! The long-lived containers, each at a pace of its own.

use std::{
    collections::HashSet,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use capture_writers::paced::Pace;

use crate::{Container, Engine, container::Builder, fidelity::programs, image, process};

/// Image with the writer and nothing else.
const IMAGE: &str = "capture-test/soak:latest";
/// Started at a time.
const AT_ONCE: usize = 4;
/// For 55 containers that end when they are told to, on a loaded machine.
const STOP_DEADLINE: Duration = Duration::from_mins(3);

/// One long-lived container.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) container: Container,
    pub(super) pace: Pace,
    /// Docker's own log of it.
    pub(super) log: PathBuf,
}

/// All long-lived containers of a soak.
#[derive(Debug)]
pub(super) struct Fleet {
    engine: Arc<Engine>,
    pub(super) members: Vec<Member>,
}

/// Makes the image that all containers of a soak run.
///
/// # Errors
/// When the writer does not build, or the engine does not take the image.
pub(super) fn prepare_image(engine: &Engine) -> Result<()> {
    let directory = tempfile::tempdir().context("no directory for the image")?;
    fs::copy(programs::writer()?, directory.path().join("writer")).context("the writer")?;
    image::import(engine, directory.path(), IMAGE).map(drop)
}

/// `docker run` of the writer, with a log that is bounded.
///
/// # Errors
/// When the harness's own image cannot be made.
pub(super) fn builder(engine: &Arc<Engine>, topic: &str) -> Result<Builder> {
    let log = ["--log-driver", "json-file", "--log-opt", "max-size=256m", "--log-opt", "max-file=3"];
    Ok(Container::builder(engine, topic)?.image(IMAGE).options(["--network", "none"]).options(log))
}

/// The command line of the writer.
pub(super) fn words(pace: Pace) -> Vec<String> {
    std::iter::once("/writer".to_owned()).chain(pace.arguments()).collect()
}

/// What the lines of the container with this number carry; another soak on the machine has others.
pub(super) fn seed(number: u32) -> u64 {
    u64::from(std::process::id()) << 32 | u64::from(number)
}

/// The pace of the container with this number: most write a line each second, some nothing, some in bursts, a few much.
fn pace(number: u32) -> Pace {
    let (lines, period_ms, chunk) = match number % 18 {
        // Silent after its first line.
        0 | 9 => (1, 0, 0),
        // A burst, line by line or in writes larger than Docker reads at a time.
        3 => (5000, 10_000, if number.is_multiple_of(2) { 0 } else { 40_000 }),
        5 => (100, 10_000, 0),
        7 if number < 36 => (20, 100, 0),
        _ => (1, 1000, 0),
    };
    Pace { seed: seed(number), lines, period_ms, chunk, batches: 0, status: 0 }
}

impl Fleet {
    /// Starts `count` containers.
    ///
    /// # Errors
    /// When the engine does not start one.
    pub(super) fn start(engine: &Arc<Engine>, count: u32) -> Result<Self> {
        let numbers = Mutex::new(0..count);
        let next = || numbers.lock().unwrap_or_else(PoisonError::into_inner).next();
        let start_some = || -> Result<Vec<(Container, Pace)>> {
            let mut started = Vec::new();
            while let Some(number) = next() {
                started.push(start(engine, pace(number))?);
            }
            Ok(started)
        };
        let started = thread::scope(|scope| {
            let starters: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(start_some)).collect();
            let joined =
                starters.into_iter().map(|starter| starter.join().unwrap_or_else(|_| bail!("a starter panicked")));
            joined.collect::<Result<Vec<_>>>()
        })?;
        let members = started.into_iter().flatten().map(|(container, pace)| {
            let log = log_of(engine, &container)?;
            Ok(Member { container, pace, log })
        });
        let mut members = members.collect::<Result<Vec<_>>>()?;
        members.sort_by_key(|member| member.pace.seed);
        Ok(Self { engine: Arc::clone(engine), members })
    }

    /// One more that writes a line each second, with a number that no other has.
    ///
    /// # Errors
    /// When the engine does not start it.
    pub(super) fn extra(engine: &Arc<Engine>, number: u32) -> Result<Member> {
        let pace = Pace { seed: seed(number), lines: 1, period_ms: 1000, chunk: 0, batches: 0, status: 0 };
        let (container, pace) = start(engine, pace)?;
        let log = log_of(engine, &container)?;
        Ok(Member { container, pace, log })
    }

    /// Their container ids.
    pub(super) fn ids(&self) -> HashSet<String> {
        self.members.iter().map(|member| member.container.id().to_owned()).collect()
    }

    /// Tells all of them to end, which they do after their last line.
    ///
    /// # Errors
    /// When the engine does not, or one has to be killed.
    pub(super) fn stop(&self) -> Result<()> {
        let mut client = self.engine.client();
        client.args(["stop", "--time", "120"]).args(self.members.iter().map(|member| member.container.id()));
        let ids: Vec<_> = self.members.iter().map(|member| member.container.id()).collect();
        process::text(&mut client, STOP_DEADLINE).with_context(|| self.engine.stuck(&ids))?;
        let mut client = self.engine.client();
        client.args(["inspect", "--format", "{{.State.ExitCode}}"]);
        client.args(self.members.iter().map(|member| member.container.id()));
        let statuses = process::text(&mut client, STOP_DEADLINE)?;
        match statuses.lines().zip(&self.members).find(|(status, _)| *status != "0") {
            None => Ok(()),
            Some((status, member)) => bail!("{} ended with status {status}", member.container.name()),
        }
    }
}

fn start(engine: &Arc<Engine>, pace: Pace) -> Result<(Container, Pace)> {
    let words = words(pace);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok((builder(engine, "soak")?.start(&words)?, pace))
}

pub(super) fn log_of(engine: &Engine, container: &Container) -> Result<PathBuf> {
    engine.docker(["inspect", "--format", "{{.LogPath}}", container.id()]).map(PathBuf::from)
}
