//! What runs: tasks in the agent, programs in the kernel.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use tokio::runtime::Handle;

use super::MetricsError;
use super::family::{Definition, counter, describe, gauge};
use crate::kernel::BpfStats;

const TASKS: Definition =
    gauge("log_capturer_tasks", "Asynchronous tasks that have not ended, the scrape's own included.");

/// Counts tasks.
pub(super) struct TasksCollector {
    runtime: Handle,
    descriptions: Vec<Desc>,
}

impl TasksCollector {
    pub(super) fn new(runtime: Handle) -> Result<Self, MetricsError> {
        Ok(Self { runtime, descriptions: describe([&TASKS])? })
    }
}

impl Collector for TasksCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // A scrape runs on the admin server's runtime, which is another one.
        let other = Handle::try_current().ok().filter(|current| current.id() != self.runtime.id());
        let tasks: usize = [Some(&self.runtime), other.as_ref()]
            .into_iter()
            .flatten()
            .map(|runtime| runtime.metrics().num_alive_tasks())
            .sum();
        vec![TASKS.family(vec![TASKS.sample(tasks as u64, &[])])]
    }
}

const RUNS: Definition =
    counter("log_capturer_bpf_program_runs_total", "Runs of an eBPF program while it was measured.");

const TIME: Definition =
    counter("log_capturer_bpf_program_seconds_total", "Time that an eBPF program ran while it was measured.");

/// Reads the run statistics of the eBPF programs.
pub(super) struct ProgramsCollector {
    stats: Arc<BpfStats>,
    descriptions: Vec<Desc>,
}

impl ProgramsCollector {
    pub(super) fn new(stats: Arc<BpfStats>) -> Result<Self, MetricsError> {
        Ok(Self { stats, descriptions: describe([&RUNS, &TIME])? })
    }
}

impl Collector for ProgramsCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let stats = self.stats.read();
        let label = |program| [("program", program)];
        let runs = stats.iter().map(|stats| RUNS.sample(stats.runs, &label(&*stats.program)));
        let time = stats.iter().map(|stats| TIME.sample_f64(stats.time.as_secs_f64(), &label(&*stats.program)));
        vec![RUNS.family(runs.collect()), TIME.family(time.collect())]
    }
}
