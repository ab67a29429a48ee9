//! The accounts of the ledger.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use capture_common::{LostReason, Stream};
use prometheus::proto::{Metric, MetricFamily};

use super::family::{Definition, Reading, Source, counter, distribution, gauge, histogram};
use crate::delivery::Control;
use crate::pipeline::record::DropKind;
use crate::session::ledger::Ledger;
use crate::session::totals::{AgentTotals, ContainerTotals, SessionError, StreamTotals};

const AGENT: [Reading<AgentTotals, u64>; 7] = [
    (gauge("log_capturer_active_streams", "Containers whose output is being captured."), |agent| agent.active_sessions),
    (
        counter("log_capturer_containers_refused_total", "Containers that were not captured for want of a free slot."),
        |agent| agent.refused,
    ),
    (gauge("log_capturer_containers_waiting", "Running containers that wait for a free slot."), |agent| agent.waiting),
    (gauge("log_capturer_ring_size_bytes", "Size of the ring buffer."), |agent| agent.ring_size),
    (gauge("log_capturer_ring_used_bytes", "Bytes in the ring buffer that wait to be read."), |agent| agent.ring_used),
    (gauge("log_capturer_ring_high_water_bytes", "The most bytes that ever waited in the ring buffer."), |agent| {
        agent.ring_high_water
    }),
    (counter("log_capturer_bpf_missed_runs_total", "Runs of the BPF programs that the kernel skipped."), |agent| {
        agent.missed_runs
    }),
];

const UTILIZATION: Definition =
    gauge("log_capturer_stream_pool_utilization", "Share of the container slots that are in use, 0 to 1.");

const LINES: Definition = counter("log_capturer_logs_processed_total", "Lines that a sink took.");

const RECONCILE_FAILURES: Definition = counter(
    "log_capturer_reconcile_failures_total",
    "Sessions whose counters in the kernel and in the agent differed.",
);

const STATE_ERRORS: Definition =
    counter("log_capturer_state_errors_total", "State files that could not be written or read.");

const AGES: Definition = histogram("log_capturer_stream_age_seconds", "Ages of sessions when they were sealed.");

const LATENCY: Definition =
    histogram("log_capturer_capture_latency_seconds", "From the write in the kernel to the hand-over to the sink.");

const ROTATIONS: Definition =
    counter("log_capturer_stream_rotations_total", "Sessions that were sealed on their interval and reconciled.");

const STREAM_ERRORS: Definition =
    counter("log_capturer_stream_errors_total", "What went wrong with the sessions of a container.");

const STREAM: [Reading<StreamTotals, u64>; 5] = [
    (counter("log_capturer_lines_total", "Lines that every sink took that was to have them."), |stream| stream.lines),
    (counter("log_capturer_written_bytes_total", "Bytes that containers wrote."), |stream| stream.written),
    (counter("log_capturer_captured_bytes_total", "Bytes that the kernel side put into the ring buffer."), |stream| {
        stream.submitted
    }),
    (counter("log_capturer_delivered_bytes_total", "Bytes that every sink took that was to have them."), |stream| {
        stream.delivered
    }),
    (
        counter("log_capturer_filtered_bytes_total", "Bytes that were captured and that no sink was to have."),
        |stream| stream.filtered,
    ),
];

const LOST: Definition =
    counter("log_capturer_lost_bytes_total", "Bytes that the kernel side did not put into the ring buffer.");

const DROPPED: Definition = counter(
    "log_capturer_dropped_bytes_total",
    "Bytes that were captured and did not reach every sink that was to have them.",
);

/// The ledger, and the names of the sinks that its lines are counted by.
pub(super) struct Accounts {
    pub(super) ledger: Arc<Ledger>,
    pub(super) sinks: Control,
}

impl Source for Accounts {
    fn read(&self, give: &mut dyn FnMut(MetricFamily)) {
        let ledger = &*self.ledger;
        let (agent, containers) = ledger.snapshot();
        for (definition, read) in &AGENT {
            give(definition.family(vec![definition.sample(read(&agent), &[])]));
        }
        give(UTILIZATION.family(vec![UTILIZATION.sample_f64(utilization(&agent), &[])]));
        give(RECONCILE_FAILURES.family(vec![RECONCILE_FAILURES.sample(ledger.reconcile_failures(), &[])]));
        give(STATE_ERRORS.family(vec![STATE_ERRORS.sample(ledger.state_errors.load(Relaxed), &[])]));
        give(AGES.family(vec![distribution(&ledger.ages.read())]));
        give(LATENCY.family(vec![distribution(&ledger.latencies.read())]));
        give(ROTATIONS.family(containers.iter().map(rotations).collect()));
        give(STREAM_ERRORS.family(containers.iter().flat_map(errors).collect()));
        let sinks: Vec<_> = self.sinks.names();
        give(LINES.family(containers.iter().flat_map(|container| lines(container, &sinks)).collect()));
        for (definition, read) in &STREAM {
            let samples = each_stream(&containers, |labels, totals| vec![definition.sample(read(totals), &labels)]);
            give(definition.family(samples));
        }
        give(LOST.family(each_stream(&containers, |[id, name, stream], totals| {
            let by_reason = LostReason::ALL.into_iter().zip(totals.lost);
            by_reason
                .map(|(reason, bytes)| LOST.sample(bytes, &[id, name, stream, ("reason", reason.as_str())]))
                .collect()
        })));
        give(DROPPED.family(each_stream(&containers, |[id, name, stream], totals| {
            let by_kind = DropKind::ALL.into_iter().zip(totals.dropped);
            by_kind.map(|(kind, bytes)| DROPPED.sample(bytes, &[id, name, stream, ("reason", kind.as_str())])).collect()
        })));
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of containers")]
fn utilization(agent: &AgentTotals) -> f64 {
    agent.active_sessions as f64 / agent.capacity.max(1) as f64
}

/// One for each sink, from the container's start.
fn lines(container: &ContainerTotals, sinks: &[Arc<str>]) -> impl Iterator<Item = Metric> {
    sinks.iter().map(|sink| {
        let lines = container.by_sink.iter().find(|(name, _)| name == sink).map_or(0, |(_, lines)| *lines);
        let labels = [("source_type", "docker"), ("source_id", &*container.id), ("pipeline", &**sink)];
        LINES.sample(lines, &labels)
    })
}

fn rotations(container: &ContainerTotals) -> Metric {
    ROTATIONS.sample(container.rotations, &[("container_id", &*container.id), ("container_name", &*container.name)])
}

fn errors(container: &ContainerTotals) -> impl Iterator<Item = Metric> {
    SessionError::ALL.into_iter().zip(container.errors).map(|(error, count)| {
        STREAM_ERRORS.sample(count, &[("error_type", error.as_str()), ("container_id", &*container.id)])
    })
}

fn each_stream(
    containers: &[ContainerTotals],
    samples: impl Fn([(&str, &str); 3], &StreamTotals) -> Vec<Metric>,
) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for container in containers {
        for stream in Stream::ALL {
            let labels =
                [("container_id", &*container.id), ("container_name", &*container.name), ("stream", stream.as_str())];
            metrics.extend(samples(labels, container.stream(stream)));
        }
    }
    metrics
}
