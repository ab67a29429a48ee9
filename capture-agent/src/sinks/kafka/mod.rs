//! Records in Kafka.

mod batch;
mod client;
mod config;
mod producer;
#[cfg(test)]
mod tests;
mod topic;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError as Error, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer as _;

use self::batch::{Form, Outcome, deliver};
use self::client::Client;
pub use self::config::{KafkaCompression, KafkaConfig, KafkaError, SaslConfig, SaslMechanism};
use self::producer::Setup;
use self::topic::Template;
pub use self::topic::TopicError;
use super::delivery::{Receipt, Sink, SinkError};
use super::encode::Encoder;
use super::http::answer::quoted;
use super::http::note;
use crate::config::{SinkContext, SinkName};
use crate::pipeline::record::Record;
use crate::socket::{FailureKind, SocketHealth};

/// The longest that a client may take to say what a cluster or a topic is made of.
const LONGEST_LOOK: Duration = Duration::from_secs(10);

/// Produces to Kafka. The client begins to look for its brokers with the first record, or the first check.
pub struct Kafka {
    name: SinkName,
    client: Client,
    form: Form,
    timeout: Duration,
    health: Arc<SocketHealth>,
}

impl Kafka {
    fn new(context: SinkContext, topic: Template, encoder: Option<Encoder>, setup: Setup, timeout: Duration) -> Self {
        let SinkContext { name, host } = context;
        let client = Client::new(name.as_str(), setup);
        Self { name, client, form: Form { host, topic, encoder }, timeout, health: Arc::default() }
    }

    fn says(&self, what: &str) -> String {
        format!("Kafka at {}{}", self.client.brokers(), quoted(what))
    }

    fn retry(&self, what: &str) -> SinkError {
        SinkError::Retry { cause: self.says(what), after: None }
    }

    /// Why records are left, as a sentence.
    fn cause(&self, code: Option<Code>) -> String {
        let code = code.map(|code| code.to_string()).unwrap_or_default();
        self.says(&match self.client.trouble() {
            Some(trouble) => format!("{trouble} ({code})"),
            None => code,
        })
    }
}

impl Sink for Kafka {
    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn write(&mut self, records: &[Record]) -> Result<Receipt, SinkError> {
        let begun = Instant::now();
        let outcome = deliver(&mut self.client, &mut self.form, records, self.timeout);
        let Outcome { refused, left, code, .. } = outcome.map_err(|error| self.retry(&error.to_string()))?;
        self.health.observe(begun.elapsed());
        note(&self.health, (!left.is_empty()).then(|| kind(code)));
        if left.is_empty() {
            self.client.forget_trouble();
            return Ok(Receipt { refused });
        }
        let (cause, after) = (self.cause(code), None);
        if left.len() == records.len() {
            Err(SinkError::Retry { cause, after })
        } else {
            Err(SinkError::Partial { cause, after, left, refused })
        }
    }

    /// Asks for what the cluster is made of.
    fn check(&mut self) -> Result<(), SinkError> {
        let begun = Instant::now();
        let metadata = match self.client.prepare() {
            Ok(producer) => {
                let timeout = self.timeout.min(LONGEST_LOOK);
                let metadata = producer.client().fetch_metadata(self.form.topic.constant(), timeout);
                // What goes wrong with a connection is told by an event.
                producer.poll(Duration::ZERO);
                metadata.map(drop)
            }
            Err(error) => return Err(self.retry(&error.to_string())),
        };
        self.health.observe(begun.elapsed());
        note(&self.health, metadata.as_ref().err().map(|error| kind(error.rdkafka_error_code())));
        match metadata {
            Ok(()) => Ok(()),
            Err(Error::MetadataFetch(code)) => Err(SinkError::Retry { cause: self.cause(Some(code)), after: None }),
            Err(error) => Err(self.retry(&error.to_string())),
        }
    }

    /// Connections are librdkafka's own and not counted.
    fn connections(&self) -> Option<Arc<SocketHealth>> {
        Some(Arc::clone(&self.health))
    }
}

fn kind(code: Option<Code>) -> FailureKind {
    match code {
        Some(Code::MessageTimedOut | Code::RequestTimedOut | Code::OperationTimedOut | Code::TimedOutQueue) => {
            FailureKind::Timeout
        }
        Some(Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve) => FailureKind::Io,
        Some(Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL) => FailureKind::Denied,
        _ => FailureKind::Status,
    }
}
