//! Containers that start, print and fail, over and over: what makes a collector's memory grow.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use capture_writers::paced::Pace;
use rustix::process::{Signal, kill_process};

use super::fleet::{self, Member};
use crate::{Engine, poll::eventually, process::pid_of};

/// Loops that take a new container each time.
const LOOPS: u32 = 2;
/// Between two containers of a loop.
const BREAK: Duration = Duration::from_secs(3);
const DEADLINE: Duration = Duration::from_mins(1);
/// Numbers of the long-lived containers are below.
const FIRST: u32 = 1_000_000;

/// A container that has come and gone.
#[derive(Clone, Debug)]
pub(super) struct Gone {
    pub(super) id: String,
    pub(super) seed: u64,
}

/// All crash loops of a soak.
#[derive(Debug)]
pub(super) struct CrashLoops {
    engine: Arc<Engine>,
    shared: Arc<Shared>,
    loops: Vec<JoinHandle<Result<()>>>,
    /// Started again by Docker's restart policy: the same container id each time.
    pub(super) restarted: Vec<Member>,
    /// How many of their runs were cut by a signal that cannot be caught.
    pub(super) kills: AtomicU64,
}

#[derive(Debug, Default)]
struct Shared {
    paused: AtomicBool,
    ended: AtomicBool,
    /// Loops that are between two containers.
    idle: AtomicU32,
    gone: Mutex<Vec<Gone>>,
    /// Number of the next container.
    next: AtomicU32,
}

impl CrashLoops {
    /// Starts the loops.
    ///
    /// # Errors
    /// When a container cannot be started.
    pub(super) fn start(engine: &Arc<Engine>) -> Result<Self> {
        // The first lives long enough for Docker to restart it at once; the second is made to wait ever longer.
        let paces = [(6, 2000), (3, 300)].into_iter().zip(FIRST..);
        let restarted = paces.map(|((batches, period_ms), number)| {
            let seed = fleet::seed(number);
            let words = fleet::words(Pace { seed, lines: 3, period_ms, chunk: 0, batches, status: 1 });
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let container = fleet::builder(engine, "restarted")?.options(["--restart", "always"]).start(&words)?;
            let log = fleet::log_of(engine, &container)?;
            Ok(Member { container, pace: Pace::parse(&words[2..]).map_err(anyhow::Error::msg)?, log })
        });
        let restarted = restarted.collect::<Result<Vec<_>>>()?;
        let shared = Arc::new(Shared { next: (FIRST + 100).into(), ..Shared::default() });
        let loops = (0..LOOPS)
            .map(|_| {
                let (engine, shared) = (Arc::clone(engine), Arc::clone(&shared));
                thread::spawn(move || shared.turn(&engine))
            })
            .collect();
        Ok(Self { engine: Arc::clone(engine), shared, loops, restarted, kills: AtomicU64::new(0) })
    }

    /// Lets the last ones end and starts no more; gives back when none is left running.
    ///
    /// # Errors
    /// When one does not end, or a loop broke.
    pub(super) fn pause(&self) -> Result<()> {
        self.pause_loops()?;
        self.for_restarted(&["stop", "--time", "30"])
    }

    /// As [`CrashLoops::pause`], for those that need somebody to start them.
    ///
    /// # Errors
    /// As [`CrashLoops::pause`].
    pub(super) fn pause_loops(&self) -> Result<()> {
        self.shared.paused.store(true, Ordering::SeqCst);
        eventually("the crash loops to pause", DEADLINE, || {
            (self.is_broken() || self.shared.idle.load(Ordering::SeqCst) == LOOPS).then_some(())
        })
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// When the engine does not start them.
    pub(super) fn resume(&self) -> Result<()> {
        self.for_restarted(&["start"])?;
        self.resume_loops();
        Ok(())
    }

    /// Undoes [`CrashLoops::pause_loops`].
    pub(super) fn resume_loops(&self) {
        self.shared.paused.store(false, Ordering::SeqCst);
    }

    /// Kills those that Docker restarts, from outside of Docker, as the kernel does when memory runs out.
    ///
    /// # Errors
    /// When one cannot be killed although it runs.
    pub(super) fn kill(&self) -> Result<()> {
        for member in &self.restarted {
            let pid = self.engine.docker(["inspect", "--format", "{{.State.Pid}}", member.container.id()])?;
            // Between two runs there is nothing to kill.
            if pid != "0" && kill_process(pid_of(pid.parse().context("no process id")?)?, Signal::KILL).is_ok() {
                self.kills.fetch_add(1, Ordering::SeqCst);
            }
        }
        Ok(())
    }

    /// Whether a loop has come to an end that it should not have; [`CrashLoops::end`] tells which.
    pub(super) fn is_broken(&self) -> bool {
        self.loops.iter().any(JoinHandle::is_finished)
    }

    /// How many containers have come and gone in the loops.
    pub(super) fn count(&self) -> usize {
        self.shared.gone().len()
    }

    /// Ids of all containers that ever crashed here.
    pub(super) fn ids(&self) -> Vec<String> {
        let restarted = self.restarted.iter().map(|member| member.container.id().to_owned());
        self.shared.gone().iter().map(|gone| gone.id.clone()).chain(restarted).collect()
    }

    /// Ends the loops, and gives every container that has come and gone.
    ///
    /// # Errors
    /// When a loop broke on the way.
    pub(super) fn end(&mut self) -> Result<Vec<Gone>> {
        self.shared.ended.store(true, Ordering::SeqCst);
        for turning in self.loops.drain(..) {
            turning.join().unwrap_or_else(|_| bail!("a crash loop panicked"))?;
        }
        self.for_restarted(&["stop", "--time", "30"])?;
        Ok(self.shared.gone().clone())
    }

    fn for_restarted(&self, words: &[&str]) -> Result<()> {
        let ids = self.restarted.iter().map(|member| member.container.id());
        self.engine.docker(words.iter().copied().chain(ids)).map(drop)
    }
}

impl Drop for CrashLoops {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        for turning in self.loops.drain(..) {
            // Its error is told by `end`; here something else went wrong before.
            let _ = turning.join();
        }
    }
}

impl Shared {
    fn gone(&self) -> std::sync::MutexGuard<'_, Vec<Gone>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, engine: &Arc<Engine>) -> Result<()> {
        loop {
            self.idle.fetch_add(1, Ordering::SeqCst);
            self.wait();
            self.idle.fetch_sub(1, Ordering::SeqCst);
            if self.ended.load(Ordering::SeqCst) {
                return Ok(());
            }
            // Paused after the last look: whoever paused may have counted this loop as idle.
            if self.paused.load(Ordering::SeqCst) {
                continue;
            }
            let seed = fleet::seed(self.next.fetch_add(1, Ordering::SeqCst));
            let words = fleet::words(Pace { seed, lines: 20, period_ms: 50, chunk: 0, batches: 3, status: 1 });
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let container = fleet::builder(engine, "crashing")?.start(&words)?;
            self.gone().push(Gone { id: container.id().to_owned(), seed });
            let status = container.wait()?;
            if status != "1" {
                bail!("{} ended with status {status}", container.name());
            }
        }
    }

    /// A break, and then for as long as there is a pause.
    fn wait(&self) {
        let mut left = BREAK;
        let step = Duration::from_millis(50);
        while !self.ended.load(Ordering::SeqCst) && (self.paused.load(Ordering::SeqCst) || !left.is_zero()) {
            thread::sleep(step);
            left = left.saturating_sub(step);
        }
    }
}
