//! What the agent tells of itself, in Prometheus' text format.
//!
//! Nothing is counted here: a scrape reads the ledger and the state of the Docker socket as they are.

use std::sync::Arc;

use capture_common::{LostReason, Stream};
use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Registry, TextEncoder};

use crate::containers::docker::{FailureKind, LATENCY_BUCKETS, SocketHealth};
use crate::session::ledger::{AgentTotals, ContainerTotals, Ledger, StreamTotals};

/// Content type of [`Metrics::encode`]'s answer.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Why there are no metrics.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// Two metrics share a name, or a name is no good.
    #[error("cannot register the metrics: {0}")]
    Register(#[source] prometheus::Error),
    /// A family is not complete.
    #[error("cannot encode the metrics: {0}")]
    Encode(#[source] prometheus::Error),
}

/// The agent's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// Metrics that read `ledger` and `docker` whenever they are asked for.
    ///
    /// # Errors
    ///
    /// Two metrics share a name, or a name is no good.
    pub fn new(ledger: Arc<Ledger>, docker: Arc<SocketHealth>) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let collectors: [Box<dyn Collector>; 3] = [
            Box::new(LedgerCollector::new(ledger)?),
            Box::new(DockerCollector::new(docker)?),
            Box::new(ProcessCollector::for_self()),
        ];
        for collector in collectors {
            registry.register(collector).map_err(MetricsError::Register)?;
        }
        Ok(Self { registry })
    }

    /// All metrics in text format 0.0.4.
    ///
    /// # Errors
    ///
    /// A family is not complete.
    pub fn encode(&self) -> Result<String, MetricsError> {
        TextEncoder::new().encode_to_string(&self.registry.gather()).map_err(MetricsError::Encode)
    }
}

/// Name, help and type of one metric.
struct Definition {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
}

const fn counter(name: &'static str, help: &'static str) -> Definition {
    Definition { name, help, kind: MetricType::COUNTER }
}

const fn gauge(name: &'static str, help: &'static str) -> Definition {
    Definition { name, help, kind: MetricType::GAUGE }
}

impl Definition {
    /// Labels differ by sample and stand there; the registry only compares names.
    fn describe(&self) -> Result<Desc, MetricsError> {
        Desc::new(self.name.to_owned(), self.help.to_owned(), Vec::new(), std::collections::HashMap::new())
            .map_err(MetricsError::Register)
    }

    fn family(&self, metrics: Vec<Metric>) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(metrics);
        family
    }

    #[expect(clippy::cast_precision_loss, reason = "the format's numbers are f64, exact up to 2^53 (9 PB)")]
    fn sample(&self, value: u64, labels: &[(&str, &str)]) -> Metric {
        self.sample_f64(value as f64, labels)
    }

    fn sample_f64(&self, value: f64, labels: &[(&str, &str)]) -> Metric {
        let labels = labels.iter().map(|(name, value)| {
            let mut label = LabelPair::default();
            label.set_name((*name).to_owned());
            label.set_value((*value).to_owned());
            label
        });
        let mut metric = Metric::from_label(labels.collect());
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        metric
    }
}

/// A metric and where its value is found.
type Reading<T, V> = (Definition, fn(&T) -> V);

const AGENT: [Reading<AgentTotals, u64>; 5] = [
    (gauge("log_capturer_active_streams", "Containers whose output is being captured."), |agent| agent.active_sessions),
    (
        counter("log_capturer_containers_refused_total", "Containers that were not captured for want of a free slot."),
        |agent| agent.refused,
    ),
    (gauge("log_capturer_ring_size_bytes", "Size of the ring buffer."), |agent| agent.ring_size),
    (gauge("log_capturer_ring_used_bytes", "Bytes in the ring buffer that wait to be read."), |agent| agent.ring_used),
    (counter("log_capturer_bpf_missed_runs_total", "Runs of the BPF programs that the kernel skipped."), |agent| {
        agent.missed_runs
    }),
];

const UTILIZATION: Definition =
    gauge("log_capturer_stream_pool_utilization", "Share of the container slots that are in use, 0 to 1.");

const LINES: Definition = counter("log_capturer_logs_processed_total", "Lines that the sinks took.");

const STREAM: [Reading<StreamTotals, u64>; 3] = [
    (counter("log_capturer_written_bytes_total", "Bytes that containers wrote."), |stream| stream.written),
    (counter("log_capturer_captured_bytes_total", "Bytes that the kernel side put into the ring buffer."), |stream| {
        stream.submitted
    }),
    (counter("log_capturer_delivered_bytes_total", "Bytes that the sinks took."), |stream| stream.delivered),
];

const LOST: Definition =
    counter("log_capturer_lost_bytes_total", "Bytes that the kernel side did not put into the ring buffer.");

const DROPPED: Definition =
    counter("log_capturer_dropped_bytes_total", "Bytes that were captured and not delivered to a sink.");

/// Reads the ledger.
struct LedgerCollector {
    ledger: Arc<Ledger>,
    descriptions: Vec<Desc>,
}

impl LedgerCollector {
    fn new(ledger: Arc<Ledger>) -> Result<Self, MetricsError> {
        let definitions = AGENT.iter().map(|(definition, _)| definition);
        let definitions = definitions.chain(STREAM.iter().map(|(definition, _)| definition));
        let definitions = definitions.chain([&UTILIZATION, &LINES, &LOST, &DROPPED]);
        let descriptions = definitions.map(Definition::describe).collect::<Result<_, _>>()?;
        Ok(Self { ledger, descriptions })
    }
}

impl Collector for LedgerCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (agent, containers) = self.ledger.snapshot();
        let mut families: Vec<_> = AGENT
            .iter()
            .map(|(definition, read)| definition.family(vec![definition.sample(read(&agent), &[])]))
            .collect();
        families.push(UTILIZATION.family(vec![UTILIZATION.sample_f64(utilization(&agent), &[])]));
        families.push(LINES.family(containers.iter().map(lines).collect()));
        for (definition, read) in &STREAM {
            let samples = each_stream(&containers, |labels, totals| vec![definition.sample(read(totals), &labels)]);
            families.push(definition.family(samples));
        }
        families.push(LOST.family(each_stream(&containers, |[id, name, stream], totals| {
            let by_reason = LostReason::ALL.into_iter().zip(totals.lost);
            by_reason
                .map(|(reason, bytes)| LOST.sample(bytes, &[id, name, stream, ("reason", reason.as_str())]))
                .collect()
        })));
        families.push(DROPPED.family(each_stream(&containers, |[id, name, stream], totals| {
            vec![DROPPED.sample(totals.dropped, &[id, name, stream, ("reason", "queue_full")])]
        })));
        families
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of containers")]
fn utilization(agent: &AgentTotals) -> f64 {
    agent.active_sessions as f64 / agent.capacity.max(1) as f64
}

fn lines(container: &ContainerTotals) -> Metric {
    let lines = container.streams.iter().map(|stream| stream.lines).sum();
    LINES.sample(lines, &[("source_type", "docker"), ("source_id", &*container.id), ("pipeline", "default")])
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

#[expect(clippy::cast_precision_loss, reason = "ages and counts far below 2^53")]
const DOCKER: [Reading<SocketHealth, f64>; 4] = [
    (gauge("log_capturer_docker_socket_up", "Whether the Docker engine answers: 1 or 0."), |docker| {
        f64::from(u8::from(docker.up()))
    }),
    (counter("log_capturer_docker_reconnects_total", "Times that the Docker engine answered again."), |docker| {
        docker.reconnects() as f64
    }),
    (
        gauge("log_capturer_docker_event_stream_age_seconds", "Age of the event subscription; 0 without one."),
        |docker| docker.event_stream_age().unwrap_or_default().as_secs_f64(),
    ),
    (gauge("log_capturer_docker_open_connections", "Connections to the Docker socket that are open."), |docker| {
        docker.open_connections() as f64
    }),
];

const ERRORS: Definition =
    counter("log_capturer_docker_errors_total", "Calls and event streams of the Docker socket that failed.");

const REQUESTS: Definition = Definition {
    name: "log_capturer_docker_request_seconds",
    help: "How long calls of the Docker socket took, failed ones included.",
    kind: MetricType::HISTOGRAM,
};

/// Reads the state of the Docker socket.
struct DockerCollector {
    docker: Arc<SocketHealth>,
    descriptions: Vec<Desc>,
}

impl DockerCollector {
    fn new(docker: Arc<SocketHealth>) -> Result<Self, MetricsError> {
        let definitions = DOCKER.iter().map(|(definition, _)| definition).chain([&ERRORS, &REQUESTS]);
        let descriptions = definitions.map(Definition::describe).collect::<Result<_, _>>()?;
        Ok(Self { docker, descriptions })
    }
}

impl Collector for DockerCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let docker = &*self.docker;
        let mut families: Vec<_> = DOCKER
            .iter()
            .map(|(definition, read)| definition.family(vec![definition.sample_f64(read(docker), &[])]))
            .collect();
        let errors = FailureKind::ALL.map(|kind| ERRORS.sample(docker.errors(kind), &[("kind", kind.as_str())]));
        families.push(ERRORS.family(errors.into()));
        families.push(REQUESTS.family(vec![request_seconds(docker)]));
        families
    }
}

fn request_seconds(docker: &SocketHealth) -> Metric {
    let requests = docker.requests();
    let buckets = LATENCY_BUCKETS.into_iter().zip(requests.buckets).map(|(bound, cumulative)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(cumulative);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(requests.count);
    histogram.set_sample_sum(requests.sum);
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    metric
}

#[cfg(test)]
mod tests;
