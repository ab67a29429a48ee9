//! The state of the Docker socket.

use prometheus::proto::MetricFamily;

use super::family::{Definition, Reading, Source, counter, distribution, gauge, histogram};
use crate::socket::{FailureKind, SocketHealth};

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
        |docker| docker.age().unwrap_or_default().as_secs_f64(),
    ),
    (gauge("log_capturer_docker_open_connections", "Connections to the Docker socket that are open."), |docker| {
        docker.open_connections() as f64
    }),
];

const ERRORS: Definition =
    counter("log_capturer_docker_errors_total", "Calls and event streams of the Docker socket that failed.");

const REQUESTS: Definition =
    histogram("log_capturer_docker_request_seconds", "How long calls of the Docker socket took, failed ones included.");

impl Source for SocketHealth {
    fn read(&self, give: &mut dyn FnMut(MetricFamily)) {
        for (definition, read) in &DOCKER {
            give(definition.family(vec![definition.sample_f64(read(self), &[])]));
        }
        let errors = FailureKind::ALL.map(|kind| ERRORS.sample(self.errors(kind), &[("kind", kind.as_str())]));
        give(ERRORS.family(errors.into()));
        give(REQUESTS.family(vec![distribution(&self.requests())]));
    }
}
