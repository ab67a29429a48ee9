//! The client: librdkafka, and what it reports.
//!
//! A client has one thread of its own, one for each broker and one for each address of `brokers` until it is known which
//! broker that is; none for a container, a topic or a partition. Descriptors go with these threads: a connection and a
//! pair for waking up.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError as Error, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, DeliveryResult, NoCustomPartitioner, ProducerContext};

use super::config::KafkaError;
use crate::config::Secret;
use crate::config::reload::Stamp;

pub(super) type Producer = BaseProducer<Reports>;

/// What a client is made of, and made anew of when a file changes.
pub(super) struct Setup {
    pub(super) properties: ClientConfig,
    pub(super) password_file: Option<PathBuf>,
    /// Those that are read when a client is made.
    pub(super) files: Vec<PathBuf>,
    /// For messages.
    pub(super) brokers: String,
}

impl Setup {
    pub(super) fn stamps(&self) -> Vec<Option<Stamp>> {
        self.files.iter().map(|file| Stamp::of(file)).collect()
    }

    pub(super) fn create(&self, sink: &str) -> Result<Producer, KafkaError> {
        let mut properties = self.properties.clone();
        if let Some(path) = &self.password_file {
            properties.set("sasl.password", Secret::from_file(path)?.expose());
        }
        let reports = Reports { sink: sink.to_owned(), state: Arc::default() };
        properties.create_with_context(reports).map_err(|error| KafkaError::Client(error.to_string()))
    }
}

/// What became of a record, by its place among those of the call.
pub(super) type Report = (usize, Result<(), Code>);

/// Takes what the client reports: on the thread that polls it, but for what it logs.
pub(super) struct Reports {
    sink: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    reports: Vec<Report>,
    /// What was last wrong with the cluster, or the way to it.
    trouble: Option<String>,
}

impl Reports {
    /// Takes the reports that are there.
    pub(super) fn take(&self) -> Vec<Report> {
        std::mem::take(&mut self.lock().reports)
    }

    /// What was last wrong. A client tells the same again only after a while.
    pub(super) fn trouble(&self) -> Option<String> {
        self.lock().trouble.clone()
    }

    /// For when all is well again.
    pub(super) fn forget_trouble(&self) {
        self.lock().trouble = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // What matters comes as an error as well, or in a report.
        tracing::debug!(sink = self.sink, ?level, facility, message, "librdkafka");
    }

    fn error(&self, error: Error, reason: &str) {
        tracing::debug!(sink = self.sink, %error, reason, "librdkafka");
        // That all are down is said after why each of them is.
        let is_summary = error.rdkafka_error_code() == Some(Code::AllBrokersDown);
        let mut state = self.lock();
        if !is_summary || state.trouble.is_none() {
            state.trouble = Some(reason.to_owned());
        }
    }
}

impl ProducerContext<NoCustomPartitioner> for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        let outcome = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(Code::Unknown)),
        };
        self.lock().reports.push((index, outcome));
    }
}
