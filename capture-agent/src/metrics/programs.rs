//! What runs: tasks in the agent, programs in the kernel.

use prometheus::proto::MetricFamily;
use tokio::runtime::Handle;

use super::family::{Definition, Source, counter, gauge};
use crate::kernel::BpfStats;

const TASKS: Definition =
    gauge("log_capturer_tasks", "Asynchronous tasks that have not ended, the scrape's own included.");

/// Counts the tasks of a runtime, and of the one that it is asked on.
impl Source for Handle {
    fn read(&self, give: &mut dyn FnMut(MetricFamily)) {
        // A scrape runs on the admin server's runtime, which is another one.
        let other = Self::try_current().ok().filter(|current| current.id() != self.id());
        let tasks: usize =
            [Some(self), other.as_ref()].into_iter().flatten().map(|runtime| runtime.metrics().num_alive_tasks()).sum();
        give(TASKS.family(vec![TASKS.sample(tasks as u64, &[])]));
    }
}

const RUNS: Definition =
    counter("log_capturer_bpf_program_runs_total", "Runs of an eBPF program while it was measured.");

const TIME: Definition =
    counter("log_capturer_bpf_program_seconds_total", "Time that an eBPF program ran while it was measured.");

impl Source for BpfStats {
    fn read(&self, give: &mut dyn FnMut(MetricFamily)) {
        let stats = Self::read(self);
        let label = |program| [("program", program)];
        let runs = stats.iter().map(|stats| RUNS.sample(stats.runs, &label(&*stats.program)));
        give(RUNS.family(runs.collect()));
        let time = stats.iter().map(|stats| TIME.sample_f64(stats.time.as_secs_f64(), &label(&*stats.program)));
        give(TIME.family(time.collect()));
    }
}
