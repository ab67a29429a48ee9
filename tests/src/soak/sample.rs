//! One look at the agent, every few seconds.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{old_way::OldSample, scrape::Scrape, usage::Usage};
use crate::cgroups::Hierarchy;
use crate::{Agent, Engine};

/// Looks that are taken at a count that does not agree, where containers of others come and go at the same time.
const LOOKS: u32 = 4;

/// What goes on around a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Crash loops turn, faults happen: containers come and go.
    Busy,
    /// Exactly the long-lived containers run.
    Quiet,
    /// As quiet, and dockerd stands still.
    Frozen,
    /// Hundreds of connections to the agent's admin port: they are descriptors and tasks of the agent while they last.
    Hammered,
}

impl Phase {
    /// Its word in the table of samples.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Quiet => "quiet",
            Self::Frozen => "frozen",
            Self::Hammered => "hammered",
        }
    }

    /// Whether the containers that run are exactly the long-lived ones.
    #[must_use]
    pub fn is_exact(self) -> bool {
        matches!(self, Self::Quiet | Self::Frozen)
    }
}

/// The figures of one moment. `None` where the agent does not export the metric.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Seconds since the run began.
    pub at: f64,
    /// What goes on.
    pub phase: Phase,
    /// Of the agent, taken while no connection to it is open.
    pub usage: Usage,
    /// `log_capturer_tasks`, always counted within a scrape.
    pub tasks: Option<f64>,
    /// `log_capturer_active_streams`.
    pub active: Option<f64>,
    /// How many containers had processes before and after the scrape, of whatever engine; `None` where that changed.
    pub existing: Option<usize>,
    /// Long-lived containers that have processes and a series of rotations.
    pub present: usize,
    /// Rotations of the long-lived containers.
    pub rotations: f64,
    /// `log_capturer_reconcile_failures_total`.
    pub reconcile_failures: Option<f64>,
    /// Bytes that the kernel side did not get, of all containers of the soak so far.
    pub lost: f64,
    /// Bytes that a sink's queue refused, likewise.
    pub dropped: f64,
    /// `log_capturer_stream_errors_total` by type, likewise.
    pub errors: BTreeMap<String, f64>,
    /// `log_capturer_docker_open_connections`.
    pub connections: Option<f64>,
    /// Connections to Docker's socket that the kernel has, whoever made them: the agent, the harness's own client, the old way.
    pub kernel_connections: usize,
    /// Bytes that containers of others wrote since the agent's start: what it takes of them, it needs memory and time for.
    pub others: f64,
    /// Of dockerd; `None` while it is being restarted.
    pub dockerd: Option<Usage>,
    /// Of the old way, where that runs beside.
    pub old: Option<OldSample>,
}

impl Sample {
    /// Bytes that did not come out, for whatever reason.
    #[must_use]
    pub fn missing_bytes(&self) -> f64 {
        self.lost + self.dropped
    }
}

/// Takes samples, and remembers what series said that are gone by now.
pub(super) struct Sampler<'a> {
    pub(super) agent: &'a Agent,
    pub(super) engine: &'a Engine,
    pub(super) hierarchy: &'a Hierarchy,
    pub(super) long_lived: HashSet<String>,
    begun: Instant,
    lost: Highest,
    dropped: Highest,
    others: Highest,
    errors: HashMap<String, Highest>,
}

/// The highest value of each container's counter: a series that has disappeared takes nothing back.
#[derive(Default)]
struct Highest(HashMap<String, f64>);

impl Highest {
    fn add(&mut self, sums: &HashMap<&str, f64>, own: impl Fn(&str) -> bool) -> f64 {
        for (id, value) in sums.iter().filter(|(id, _)| own(id)) {
            let highest = self.0.entry((*id).to_owned()).or_default();
            *highest = highest.max(*value);
        }
        self.sum()
    }

    /// Of nothing it is 0 and not -0, which `sum` gives.
    fn sum(&self) -> f64 {
        self.0.values().fold(0.0, |sum, value| sum + value)
    }
}

impl<'a> Sampler<'a> {
    pub(super) fn new(
        agent: &'a Agent,
        engine: &'a Engine,
        hierarchy: &'a Hierarchy,
        long_lived: HashSet<String>,
    ) -> Self {
        let (lost, dropped, others) = (Highest::default(), Highest::default(), Highest::default());
        let errors = HashMap::new();
        Self { agent, engine, hierarchy, long_lived, begun: Instant::now(), lost, dropped, others, errors }
    }

    /// Looks once; `short_lived` are the other containers of the soak so far.
    ///
    /// # Errors
    /// When the agent is gone or does not answer.
    pub(super) fn take(
        &mut self,
        phase: Phase,
        short_lived: &HashSet<String>,
        old: Option<OldSample>,
    ) -> Result<Sample> {
        let at = self.begun.elapsed().as_secs_f64();
        // Before the scrape, whose connection is a descriptor and a task of the agent.
        let usage = Usage::of(self.agent.id())?;
        let kernel_connections = connections(self.engine)?;
        let (scrape, existing, present) = self.scrape(phase)?;
        let own = |id: &str| self.long_lived.contains(id) || short_lived.contains(id);
        let rotations = scrape.by_container("log_capturer_stream_rotations_total");
        let rotations = rotations
            .iter()
            .filter(|(id, _)| self.long_lived.contains(**id))
            .map(|(_, count)| count)
            .fold(0.0, |sum, count| sum + count);
        let lost = self.lost.add(&scrape.by_container("log_capturer_lost_bytes_total"), own);
        let dropped = self.dropped.add(&scrape.by_container("log_capturer_dropped_bytes_total"), own);
        let others = self.others.add(&scrape.by_container("log_capturer_written_bytes_total"), |id| !own(id));
        let now = scrape.by_label("log_capturer_stream_errors_total", "error_type", own);
        for (kind, count) in &now {
            self.errors.entry(kind.clone()).or_default().add(&HashMap::from([("", *count)]), |_| true);
        }
        let errors = self.errors.iter().map(|(kind, highest)| (kind.clone(), highest.sum())).collect();
        let dockerd =
            self.engine.daemon_pid().and_then(|pid| Usage::of(pid.as_raw_nonzero().get().cast_unsigned())).ok();
        Ok(Sample {
            at,
            phase,
            usage,
            tasks: scrape.plain("log_capturer_tasks"),
            active: scrape.plain("log_capturer_active_streams"),
            existing,
            present,
            rotations,
            reconcile_failures: scrape.plain("log_capturer_reconcile_failures_total"),
            lost,
            dropped,
            errors,
            connections: scrape.plain("log_capturer_docker_open_connections"),
            kernel_connections,
            others,
            dockerd,
            old,
        })
    }

    /// A scrape between two looks at the cgroups. When the count does not agree although no container of the soak comes or
    /// goes, but somebody else's are there, it is looked at again: those may be on their way.
    fn scrape(&self, phase: Phase) -> Result<(Scrape, Option<usize>, usize)> {
        let mut looks = 0;
        loop {
            let before = self.hierarchy.containers();
            let scrape = Scrape::new(self.agent.metrics()?);
            let same = before == self.hierarchy.containers();
            let present = {
                let rotations = scrape.by_container("log_capturer_stream_rotations_total");
                let is_present = |id: &&String| before.contains(*id) && rotations.contains_key(id.as_str());
                self.long_lived.iter().filter(is_present).count()
            };
            #[expect(clippy::cast_precision_loss, reason = "a count of containers")]
            let agrees = same && scrape.plain("log_capturer_active_streams") == Some(before.len() as f64);
            let foreign = before.len() > self.long_lived.len();
            looks += 1;
            if agrees || !phase.is_exact() || !foreign || looks == LOOKS {
                return Ok((scrape, same.then_some(before.len()), present));
            }
            thread::sleep(Duration::from_millis(300));
        }
    }
}

/// Established connections to the engine's socket: their server side carries its path.
fn connections(engine: &Engine) -> Result<usize> {
    let path = engine.socket().display().to_string();
    let table = fs::read_to_string("/proc/net/unix")?;
    Ok(table.lines().filter(|line| line.ends_with(&path) && is_connected(line)).count())
}

/// Column `St` of `/proc/net/unix`: `SS_CONNECTED` of `include/uapi/linux/net.h` is 3.
fn is_connected(line: &str) -> bool {
    line.split_whitespace().nth(5) == Some("03")
}
