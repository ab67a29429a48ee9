//! Records in Kafka.

mod config;
mod producer;
#[cfg(test)]
mod tests;
mod topic;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError as Error, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, PurgeConfig};

pub use self::config::{KafkaCompression, KafkaConfig, KafkaError, SaslConfig, SaslMechanism};
use self::producer::{Producer, Setup};
use self::topic::Template;
pub use self::topic::TopicError;
use super::delivery::{Receipt, Refused, Sink, SinkError};
use super::encode::{Encoder, gap_text};
use super::http::answer::{TOO_LARGE, quoted};
use super::http::note;
use crate::config::reload::Stamp;
use crate::config::{SinkContext, SinkName};
use crate::pipeline::record::{Content, Record};
use crate::socket::{FailureKind, SocketHealth};

/// How often reports are looked for: a poll of the client's takes all of its time.
const POLL: Duration = Duration::from_millis(2);
/// The same after the first moments, in which a cluster that is well has answered.
const LAZY_POLL: Duration = Duration::from_millis(20);
const MOMENTS: Duration = Duration::from_millis(200);
/// How much longer than the timeout reports are waited for: librdkafka looks for overdue records each second.
const SLACK: Duration = Duration::from_secs(3);
/// The longest that a check takes.
const LONGEST_CHECK: Duration = Duration::from_secs(10);

/// Produces to Kafka.
pub struct Kafka {
    name: SinkName,
    host: String,
    topic: Template,
    /// `None` for the line alone.
    encoder: Option<Encoder>,
    setup: Setup,
    stamps: Vec<Option<Stamp>>,
    producer: Producer,
    /// Whether a new client is due.
    is_spent: bool,
    timeout: Duration,
    health: Arc<SocketHealth>,
}

/// What became of the records of a call.
#[derive(Default)]
struct Outcome {
    refused: Vec<Refused>,
    /// Those to be given again, and why the first of them is.
    left: Vec<usize>,
    code: Option<Code>,
    /// Those that a broker found too large, alone or together with others.
    too_large: Vec<usize>,
}

impl Kafka {
    fn new(
        context: SinkContext,
        topic: Template,
        encoder: Option<Encoder>,
        setup: Setup,
        timeout: Duration,
    ) -> Result<Self, KafkaError> {
        let (stamps, producer) = (setup.stamps(), setup.create(context.name.as_str())?);
        let SinkContext { name, host } = context;
        Ok(Self {
            name,
            host,
            topic,
            encoder,
            setup,
            stamps,
            producer,
            is_spent: false,
            timeout,
            health: Arc::default(),
        })
    }

    /// How its cluster fares. Connections are librdkafka's own and not counted.
    #[must_use]
    pub fn health(&self) -> Arc<SocketHealth> {
        Arc::clone(&self.health)
    }

    /// Makes the client anew where its files changed, or where it will never produce again.
    fn refresh(&mut self) -> Result<(), SinkError> {
        let (stamps, fatal) = (self.setup.stamps(), self.producer.client().fatal_error());
        if let Some((code, reason)) = &fatal {
            tracing::warn!(sink = %self.name, ?code, reason, "the Kafka client cannot go on and is started anew");
        }
        self.is_spent |= fatal.is_some();
        if stamps == self.stamps && !self.is_spent {
            return Ok(());
        }
        self.stamps = stamps;
        match self.setup.create(self.name.as_str()) {
            Ok(producer) => {
                producer.context().inherit(self.producer.context());
                (self.producer, self.is_spent) = (producer, false);
            }
            Err(error) if self.is_spent => {
                return Err(SinkError::Retry { cause: self.says(&error.to_string()), after: None });
            }
            Err(error) => tracing::warn!(sink = %self.name, %error, "the files that were read before are kept"),
        }
        Ok(())
    }

    /// Gives records to the client and waits for what becomes of each.
    fn produce(&mut self, records: &[Record], indices: &[usize]) -> Outcome {
        let mut outcome = Outcome::default();
        let deadline = Instant::now() + self.timeout + SLACK;
        let mut topics: HashMap<_, String> = HashMap::new();
        let mut value = Vec::new();
        let mut waiting = 0;
        // Containers of which a record is left: those after it must not overtake it.
        let mut blocked: HashSet<&str> = HashSet::new();
        for index in indices.iter().copied() {
            let record = &records[index];
            let container = &*record.origin.container_id;
            if blocked.contains(container) {
                outcome.left.push(index);
                continue;
            }
            let key = (Arc::as_ptr(&record.origin), record.stream);
            let topic =
                topics.entry(key).or_insert_with(|| self.topic.render(&record.origin, record.stream, &self.host));
            value.clear();
            encode(self.encoder.as_mut(), record, &mut value);
            match self.enqueue(topic, record, index, &value) {
                Ok(()) => waiting += 1,
                Err(Code::MessageSizeTooLarge) => outcome.refused.push(Refused { index, reason: TOO_LARGE }),
                Err(code) => {
                    blocked.insert(container);
                    outcome.left.push(index);
                    outcome.code.get_or_insert(code);
                }
            }
        }
        self.wait(waiting, deadline, &mut outcome);
        outcome
    }

    /// Puts a record into the client's queue.
    fn enqueue(&self, topic: &str, record: &Record, index: usize, value: &[u8]) -> Result<(), Code> {
        let uid = record.uid().to_string();
        let send = || {
            let headers = OwnedHeaders::new().insert(Header { key: "log.record.uid", value: Some(&uid) });
            let message = BaseRecord::with_opaque_to(topic, index)
                .key(record.origin.container_id.as_bytes())
                .payload(value)
                .timestamp(record.timestamp / 1_000_000)
                .headers(headers);
            let sent = self.producer.send(message);
            sent.map_err(|(error, _)| error.rdkafka_error_code().unwrap_or(Code::Unknown))
        };
        match send() {
            Err(code) if code != Code::MessageSizeTooLarge => {
                // It remembers what was wrong with a topic until it hears otherwise.
                let timeout = self.timeout.min(LONGEST_CHECK);
                self.producer.client().fetch_metadata(Some(topic), timeout).map_err(|_| code)?;
                send()
            }
            outcome => outcome,
        }
    }

    /// Waits for the reports of so many records.
    fn wait(&mut self, mut waiting: usize, deadline: Instant, outcome: &mut Outcome) {
        let begun = Instant::now();
        while waiting > 0 {
            self.producer.poll(if begun.elapsed() < MOMENTS { POLL } else { LAZY_POLL });
            let reports = self.producer.context().take();
            waiting = waiting.saturating_sub(reports.len());
            for (index, result) in reports {
                let Err(code) = result else { continue };
                if code == Code::MessageSizeTooLarge {
                    outcome.too_large.push(index);
                } else if let Some(reason) = reason(code) {
                    outcome.refused.push(Refused { index, reason });
                } else {
                    if code == Code::MessageTimedOut {
                        self.give_up();
                    }
                    outcome.left.push(index);
                    outcome.code.get_or_insert(code);
                }
            }
            if waiting > 0 && Instant::now() > deadline {
                outcome.code.get_or_insert(Code::MessageTimedOut);
                self.give_up();
            }
        }
    }

    /// Takes back what the client still has: nothing may overtake what was not delivered in its time. The next reports
    /// are about that. The client is of no more use, as the numbers that it gives to records have a gap then.
    fn give_up(&mut self) {
        self.is_spent = true;
        self.producer.purge(PurgeConfig::default().queue().inflight());
    }

    fn says(&self, what: &str) -> String {
        format!("Kafka at {}{}", self.setup.brokers, quoted(what))
    }

    /// Why records are left, as a sentence.
    fn cause(&self, code: Option<Code>) -> String {
        let trouble = self.producer.context().trouble();
        let code = code.map(|code| code.to_string()).unwrap_or_default();
        self.says(&match trouble {
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
        self.refresh()?;
        let begun = Instant::now();
        let mut outcome = self.produce(records, &(0..records.len()).collect::<Vec<_>>());
        // A broker refuses a batch as a whole. Which of its records are too large is seen when each is sent alone.
        outcome.too_large.sort_unstable();
        for index in std::mem::take(&mut outcome.too_large) {
            let alone = self.produce(records, &[index]);
            outcome.refused.extend(alone.refused);
            outcome.refused.extend(alone.too_large.iter().map(|index| Refused { index: *index, reason: TOO_LARGE }));
            outcome.left.extend(alone.left);
            outcome.code = outcome.code.or(alone.code);
        }
        self.health.observe(begun.elapsed());
        let Outcome { mut refused, mut left, code, .. } = outcome;
        note(&self.health, (!left.is_empty()).then(|| kind(code)));
        refused.sort_unstable_by_key(|refusal| refusal.index);
        left.sort_unstable();
        if left.is_empty() {
            self.producer.context().forget_trouble();
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
        self.refresh()?;
        let begun = Instant::now();
        let timeout = self.timeout.min(LONGEST_CHECK);
        let metadata = self.producer.client().fetch_metadata(self.topic.constant(), timeout);
        // What goes wrong with a connection is told by an event.
        self.producer.poll(Duration::ZERO);
        self.health.observe(begun.elapsed());
        let code = metadata.as_ref().err().map(Error::rdkafka_error_code);
        note(&self.health, code.map(kind));
        match metadata {
            Ok(_) => Ok(()),
            Err(Error::MetadataFetch(code)) => Err(SinkError::Retry { cause: self.cause(Some(code)), after: None }),
            Err(error) => Err(SinkError::Retry { cause: self.says(&error.to_string()), after: None }),
        }
    }
}

/// The value of a record.
fn encode(encoder: Option<&mut Encoder>, record: &Record, value: &mut Vec<u8>) {
    match (encoder, &record.content) {
        (None, Content::Line { message, .. }) => value.extend_from_slice(message),
        (None, Content::Lines { data, .. }) => value.extend_from_slice(data),
        (None, Content::Gap { .. }) => value.extend_from_slice(gap_text(record).as_bytes()),
        (Some(encoder), _) => {
            encoder.encode(record, value);
            if value.last() == Some(&b'\n') {
                value.pop();
            }
        }
    }
}

/// Why a record will never be taken; `None` where that is not about the record.
fn reason(code: Code) -> Option<&'static str> {
    match code {
        Code::InvalidRecord | Code::InvalidMessage | Code::InvalidMessageSize | Code::InvalidTimestamp => {
            Some("invalid_record")
        }
        Code::PolicyViolation => Some("policy"),
        Code::InvalidTopic => Some("invalid_topic"),
        _ => None,
    }
}

fn kind(code: Option<Code>) -> FailureKind {
    match code {
        Some(
            Code::MessageTimedOut
            | Code::RequestTimedOut
            | Code::OperationTimedOut
            | Code::TimedOutQueue
            | Code::PurgeQueue
            | Code::PurgeInflight,
        ) => FailureKind::Timeout,
        Some(Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve) => FailureKind::Io,
        Some(Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL) => FailureKind::Denied,
        _ => FailureKind::Status,
    }
}
