//! The old way beside the agent: one log stream of the Docker API for each container, opened anew every 30 s.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, kill_process};

use super::{usage::Usage, verify::Collected};
use crate::{Engine, poll::eventually, process::pid_of};

/// How often each stream is cancelled and opened anew.
const ROTATION: Duration = Duration::from_secs(30);
const DEADLINE: Duration = Duration::from_mins(1);

/// The old way's figures of one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct OldSample {
    /// Of its process.
    pub usage: Usage,
    /// Tasks that are alive.
    pub tasks: f64,
    /// Streams that are open.
    pub streams: f64,
    /// Streams that were opened anew.
    pub rotations: f64,
}

/// A running collector; killed when dropped.
#[derive(Debug)]
pub(super) struct OldWay {
    child: Child,
    figures: Arc<Mutex<HashMap<String, f64>>>,
    output: PathBuf,
}

impl OldWay {
    /// Starts it; it follows the containers that run and those that start.
    ///
    /// # Errors
    /// When it does not come to follow.
    pub(super) fn start(program: &Path, engine: &Engine, output: &Path) -> Result<Self> {
        std::fs::create_dir(output)?;
        let rotation = format!("{}", ROTATION.as_secs());
        let mut child = Command::new(program)
            .args(["--docker-host", &engine.host(), "--file-path", &Collected::template(output)])
            .args(["--rotation-seconds", &rotation])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("the baseline cannot be started")?;
        let mut lines = BufReader::new(child.stdout.take().context("the baseline has no output")?).lines();
        let figures = Arc::<Mutex<HashMap<String, f64>>>::default();
        let old = Self { child, figures: Arc::clone(&figures), output: output.to_owned() };
        if !matches!(lines.next(), Some(Ok(line)) if line == "following") {
            bail!("the baseline does not follow");
        }
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let words = line.split(' ').filter_map(|word| word.split_once('='));
                let read = words.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
                *figures.lock().unwrap_or_else(PoisonError::into_inner) = read.collect();
            }
        });
        Ok(old)
    }

    /// Where it writes.
    pub(super) fn output(&self) -> &Path {
        &self.output
    }

    /// Its figures; those that it tells of itself are at most a second old.
    ///
    /// # Errors
    /// When it is gone.
    pub(super) fn sample(&self) -> Result<OldSample> {
        let usage = Usage::of(self.child.id()).context("the old way has ended")?;
        let figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        let figure = |name: &str| figures.get(name).copied().unwrap_or_default();
        Ok(OldSample { usage, tasks: figure("tasks"), streams: figure("streams"), rotations: figure("rotations") })
    }

    /// Waits until it has no stream left, and ends it.
    ///
    /// # Errors
    /// When it is gone already.
    pub(super) fn end(mut self) -> Result<()> {
        // A stream that hangs is what the comparison is about; what it has not written by then is lost.
        let _ = eventually("the old way's streams to end", DEADLINE, || match self.sample() {
            Ok(sample) => (sample.streams == 0.0).then_some(()),
            Err(_) => Some(()),
        });
        thread::sleep(Duration::from_secs(2));
        kill_process(pid_of(self.child.id())?, Signal::TERM).context("the old way has ended")?;
        self.child.wait().map(drop).context("the old way cannot be waited for")
    }
}

impl Drop for OldWay {
    fn drop(&mut self) {
        // Nothing is left to do when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
