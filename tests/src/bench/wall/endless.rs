//! The container that writes without end, and how it gets on with and without what is measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use capture_writers::flood::Flood;

use super::{LINE, Lost, Outcome, Pair, Presence, WINDOW, Window};
use crate::bench::load::{Collector, Running, Stage, Writers};
use crate::bench::machine;
use crate::bench::overhead::Limit;
use crate::cgroups::Hierarchy;

/// What a program's standard library buffers before it writes to a pipe.
const BUFFERED: usize = 4096;
/// From a switch to the next window: the agent takes 100 ms to see that output pours in.
const SETTLE: Duration = Duration::from_millis(150);
/// From the start of a container, or of a collector, to what is measured.
const SETTLE_LONG: Duration = Duration::from_millis(500);
/// The cgroup that the writer is moved to.
const ASIDE: &str = "capture-bench-aside";

/// A cgroup that is no container's; removed when dropped.
pub(super) struct Aside(PathBuf);

impl Aside {
    pub(super) fn create() -> Result<Self> {
        let path = Hierarchy::find()?.root().join(ASIDE);
        fs::create_dir_all(&path).with_context(|| format!("{}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// What is switched on and off.
enum Measured {
    /// Runs all the time, and captures the writer where it is in its container's cgroup.
    Agent(Running),
    /// Loaded once: to read the kernel's types in every window with it, and in none without, is a difference that is not its own.
    Limit(Box<Limit>),
}

impl Measured {
    fn begin(stage: &Stage, presence: Presence) -> Result<Self> {
        let agent = |running: Option<Running>| running.map(Self::Agent).context("no agent");
        let limit = match presence {
            Presence::Hooks => Limit::hooks()?,
            Presence::HooksOfCalls => Limit::hooks_of_calls()?,
            Presence::Copy => Limit::copy()?,
            Presence::AccountAndHandOver => Limit::account_and_hand_over()?,
            Presence::AccountOfCallsAndHandOver => Limit::account_of_calls_and_hand_over()?,
            Presence::AccountHandOverAndEncode => Limit::account_and_hand_over_to_encode()?,
            Presence::AccountAndEncode => Limit::account_and_encode()?,
            Presence::Agent(collector) => return agent(collector.start(stage, &[])?),
            Presence::AgentOfCalls => return agent(Collector::AgentNull.start(stage, &["--attach", "syscalls"])?),
        };
        Ok(Self::Limit(Box::new(limit)))
    }

    fn attach(&mut self) -> Result<()> {
        match self {
            Self::Agent(_) => Ok(()),
            Self::Limit(limit) => limit.attach(),
        }
    }

    fn detach(&mut self) {
        if let Self::Limit(limit) = self {
            limit.detach();
        }
    }

    /// CPU seconds that it has taken itself.
    fn cpu(&self) -> f64 {
        match self {
            Self::Agent(running) => running.cpu(),
            Self::Limit(limit) => limit.cpu(),
        }
    }

    fn lost(&self) -> Result<Lost> {
        match self {
            Self::Agent(running) => {
                let (ring, queue) = running.lost_so_far()?;
                Ok(Lost { ring, queue })
            }
            Self::Limit(limit) => Ok(Lost { ring: limit.lost()? as f64, queue: 0.0 }),
        }
    }
}

/// A container that writes until it is removed.
pub(super) struct Endless<'a> {
    /// Held, because it is removed with it.
    _writers: Writers,
    pid: u32,
    /// The cgroup of its container.
    home: PathBuf,
    aside: &'a Aside,
}

impl<'a> Endless<'a> {
    pub(super) fn start(stage: &Stage, aside: &'a Aside) -> Result<Self> {
        let lines = u64::MAX / LINE as u64;
        let flood = Flood { name: "0".to_owned(), lines, length: LINE, chunk: BUFFERED, rate: 0 };
        let writers = stage.writers(&[flood], "none")?;
        let id = writers.ids().first().copied().context("no container")?.to_owned();
        let pid = stage.engine.docker(["inspect", "--format", "{{.State.Pid}}", &id])?;
        let pid = pid.parse().context("no process id")?;
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).context("the writer is gone")?;
        let home = cgroups.lines().find_map(|line| line.strip_prefix("0::/")).context("the writer has no cgroup v2")?;
        let home = Hierarchy::find()?.root().join(home);
        writers.go()?;
        thread::sleep(SETTLE_LONG);
        Ok(Self { _writers: writers, pid, home, aside })
    }

    /// Switches it on and off so many times.
    pub(super) fn measure(
        &self,
        stage: &Stage,
        presence: Presence,
        cycles: usize,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let mut measured = Measured::begin(stage, presence)?;
        thread::sleep(SETTLE_LONG);
        let mut before = self.without(&measured)?;
        for _ in 0..cycles {
            measured.attach()?;
            let with = self.with(&measured)?;
            measured.detach();
            let after = self.without(&measured)?;
            let alone = Window {
                rate: (before.rate * after.rate).sqrt(),
                busy: f64::midpoint(before.busy, after.busy),
                own: 0.0,
            };
            outcome.pairs.push(Pair { alone, with });
            before = after;
        }
        let lost = measured.lost()?;
        outcome.lost.ring += lost.ring;
        outcome.lost.queue += lost.queue;
        self.enter(&self.home)
    }

    fn with(&self, measured: &Measured) -> Result<Window> {
        self.enter(&self.home)?;
        self.window(measured)
    }

    fn without(&self, measured: &Measured) -> Result<Window> {
        self.enter(&self.aside.0)?;
        self.window(measured)
    }

    fn enter(&self, cgroup: &Path) -> Result<()> {
        let file = cgroup.join("cgroup.procs");
        fs::write(&file, self.pid.to_string()).with_context(|| format!("{}: the writer cannot enter", file.display()))
    }

    /// How it gets on meanwhile.
    fn window(&self, measured: &Measured) -> Result<Window> {
        thread::sleep(SETTLE);
        let (begun, written, busy, cpu) = (Instant::now(), self.written()?, machine::busy()?, measured.cpu());
        thread::sleep(WINDOW);
        let (elapsed, written) = (begun.elapsed().as_secs_f64(), self.written()? - written);
        let (busy, cpu) = (machine::busy()? - busy, measured.cpu() - cpu);
        Ok(Window { rate: written / elapsed, busy: busy / elapsed, own: cpu / (written / 1e9) })
    }

    /// Bytes so far (`wchar` of `proc_pid_io(5)`).
    fn written(&self) -> Result<f64> {
        let io = fs::read_to_string(format!("/proc/{}/io", self.pid)).context("the writer is gone")?;
        let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).context("the kernel counts no bytes")?;
        line.trim().parse().context("no number of bytes")
    }
}
