//! What the agent tells of itself, in Prometheus' text format.
//!
//! Nothing is counted here: a scrape reads the ledger, the Docker socket and the kernel as they are.

mod docker;
mod family;
mod live;
mod programs;
mod reloads;
mod sessions;
mod sinks;

use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{Encoder as _, TextEncoder};
use tokio::runtime::Handle;

use self::family::Source;
use self::sessions::Accounts;
use crate::config::reload::ReloadStats;
use crate::delivery::Control;
use crate::kernel::BpfStats;
use crate::live::LiveStats;
use crate::session::ledger::Ledger;
use crate::socket::SocketHealth;

/// Content type of [`Metrics::encode`]'s answer.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The agent's metrics.
pub struct Metrics {
    sources: Vec<Arc<dyn Source>>,
    process: ProcessCollector,
}

/// What is read when metrics are asked for.
pub struct Sources {
    /// The accounts.
    pub ledger: Arc<Ledger>,
    /// The engine's socket.
    pub docker: Arc<SocketHealth>,
    /// Reloads of the configuration.
    pub reloads: Arc<ReloadStats>,
    /// The sinks.
    pub sinks: Control,
    /// The runtime that everything but the admin server runs on.
    pub runtime: Handle,
    /// Those who look at records.
    pub live: Arc<LiveStats>,
    /// Statistics of the eBPF programs, if they are wanted.
    pub bpf: Option<Arc<BpfStats>>,
}

impl Metrics {
    /// Metrics that read `sources` whenever they are asked for.
    #[must_use]
    pub fn new(sources: Sources) -> Self {
        let Sources { ledger, docker, reloads, sinks, runtime, live, bpf } = sources;
        let accounts = Accounts { ledger, sinks: sinks.clone() };
        let mut sources: Vec<Arc<dyn Source>> =
            vec![Arc::new(accounts), Arc::new(sinks), docker, reloads, live, Arc::new(runtime)];
        sources.extend(bpf.map(|bpf| -> Arc<dyn Source> { bpf }));
        Self { sources, process: ProcessCollector::for_self() }
    }

    /// All metrics in text format 0.0.4.
    ///
    /// # Errors
    ///
    /// A family is not complete.
    pub fn encode(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        let mut outcome = Ok(());
        let mut give = |family: MetricFamily| {
            // Without a sample there is nothing to say of a family, and the format has no way to.
            if !family.get_metric().is_empty() && outcome.is_ok() {
                outcome = TextEncoder::new().encode(&[family], &mut text);
            }
        };
        for source in &self.sources {
            source.read(&mut give);
        }
        self.process.collect().into_iter().for_each(give);
        outcome.map(|()| text)
    }
}

#[cfg(test)]
pub(crate) mod tests;
