//! What the agent tells of itself, in Prometheus' text format.
//!
//! Nothing is counted here: a scrape reads the ledger, the Docker socket and the kernel as they are.

mod docker;
mod family;
mod programs;
mod sessions;

use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{Registry, TextEncoder};
use tokio::runtime::Handle;

use self::docker::DockerCollector;
use self::programs::{ProgramsCollector, TasksCollector};
use self::sessions::LedgerCollector;
use crate::containers::docker::SocketHealth;
use crate::kernel::BpfStats;
use crate::session::ledger::Ledger;

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

/// What is read when metrics are asked for.
pub struct Sources {
    /// The accounts.
    pub ledger: Arc<Ledger>,
    /// The engine's socket.
    pub docker: Arc<SocketHealth>,
    /// The runtime that everything but the admin server runs on.
    pub runtime: Handle,
    /// Statistics of the eBPF programs, if they are wanted.
    pub bpf: Option<Arc<BpfStats>>,
}

impl Metrics {
    /// Metrics that read `sources` whenever they are asked for.
    ///
    /// # Errors
    ///
    /// Two metrics share a name, or a name is no good.
    pub fn new(sources: Sources) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let collectors: [Box<dyn Collector>; 4] = [
            Box::new(LedgerCollector::new(sources.ledger)?),
            Box::new(DockerCollector::new(sources.docker)?),
            Box::new(TasksCollector::new(sources.runtime)?),
            Box::new(ProcessCollector::for_self()),
        ];
        let programs = sources.bpf.map(ProgramsCollector::new).transpose()?;
        let programs = programs.map(|programs| -> Box<dyn Collector> { Box::new(programs) });
        for collector in collectors.into_iter().chain(programs) {
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

#[cfg(test)]
pub(crate) mod tests;
