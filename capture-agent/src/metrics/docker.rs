//! The state of the Docker socket.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::MetricsError;
use super::family::{Definition, Reading, counter, describe, distribution, gauge, histogram};
use crate::containers::docker::{FailureKind, SocketHealth};

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

const REQUESTS: Definition =
    histogram("log_capturer_docker_request_seconds", "How long calls of the Docker socket took, failed ones included.");

/// Reads the state of the Docker socket.
pub(super) struct DockerCollector {
    docker: Arc<SocketHealth>,
    descriptions: Vec<Desc>,
}

impl DockerCollector {
    pub(super) fn new(docker: Arc<SocketHealth>) -> Result<Self, MetricsError> {
        let definitions = DOCKER.iter().map(|(definition, _)| definition);
        let descriptions = describe(definitions.chain([&ERRORS, &REQUESTS]))?;
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
        families.push(REQUESTS.family(vec![distribution(&docker.requests())]));
        families
    }
}
