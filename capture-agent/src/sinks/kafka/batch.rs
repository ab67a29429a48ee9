//! The records of one call: given to the client, and what it reports of each.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _};

use super::client::{Client, reports};
use super::producer::Producer;
use super::topic::Template;
use super::{KafkaError, LONGEST_LOOK};
use crate::pipeline::record::{Content, Record};
use crate::sinks::delivery::Refused;
use crate::sinks::encode::{Encoder, gap_text};
use crate::sinks::http::answer::TOO_LARGE;

/// How records become messages.
pub(super) struct Form {
    pub(super) host: String,
    pub(super) topic: Template,
    /// `None` for the line alone.
    pub(super) encoder: Option<Encoder>,
}

/// What became of the records of a call, by their places.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) refused: Vec<Refused>,
    /// Those to be given again, and why the first of them is.
    pub(super) left: Vec<usize>,
    pub(super) code: Option<Code>,
    /// Those that a broker found too large, alone or together with others.
    too_large: Vec<usize>,
}

/// Brings records to the cluster. Of those of one container none is taken that follows one that is left.
pub(super) fn deliver(
    client: &mut Client,
    form: &mut Form,
    records: &[Record],
    timeout: Duration,
) -> Result<Outcome, KafkaError> {
    let mut outcome = produce(client, form, records, 0..records.len(), timeout)?;
    // A broker refuses a batch as a whole. Which of its records are too large is seen when each is sent alone.
    let mut suspects = std::mem::take(&mut outcome.too_large);
    suspects.sort_unstable();
    for place in suspects {
        if client.is_spent() {
            outcome.left.push(place);
            continue;
        }
        let alone = produce(client, form, records, [place], timeout)?;
        outcome.refused.extend(alone.refused);
        outcome.refused.extend(alone.too_large.into_iter().map(|index| Refused { index, reason: TOO_LARGE }));
        outcome.left.extend(alone.left);
        outcome.code = outcome.code.or(alone.code);
    }
    outcome.refused.sort_unstable_by_key(|refusal| refusal.index);
    outcome.left.sort_unstable();
    Ok(outcome)
}

/// Gives the records at these places to the client, and waits until it has said what became of each.
fn produce(
    client: &mut Client,
    form: &mut Form,
    records: &[Record],
    places: impl IntoIterator<Item = usize>,
    timeout: Duration,
) -> Result<Outcome, KafkaError> {
    let producer = client.prepare()?;
    let mut outcome = Outcome::default();
    let mut topics: HashMap<_, String> = HashMap::new();
    let mut value = Vec::new();
    let mut given = HashSet::new();
    let mut blocked: HashSet<&str> = HashSet::new();
    for place in places {
        let record = &records[place];
        let container = &*record.origin.container_id;
        if blocked.contains(container) {
            outcome.left.push(place);
            continue;
        }
        let key = (Arc::as_ptr(&record.origin), record.stream);
        let topic = topics.entry(key).or_insert_with(|| form.topic.render(&record.origin, record.stream, &form.host));
        value.clear();
        encode(form.encoder.as_mut(), record, &mut value);
        match enqueue(producer, topic, (place, record), &value, timeout) {
            Ok(()) => drop(given.insert(place)),
            Err(Code::MessageSizeTooLarge) => outcome.refused.push(Refused { index: place, reason: TOO_LARGE }),
            Err(code) => {
                blocked.insert(container);
                outcome.left.push(place);
                outcome.code.get_or_insert(code);
            }
        }
    }
    let (reports, is_spent) = reports(producer, given, timeout);
    if is_spent {
        client.spend();
    }
    for (place, report) in reports {
        match report {
            Ok(()) => {}
            Err(Code::MessageSizeTooLarge) => outcome.too_large.push(place),
            Err(code) => {
                if let Some(reason) = reason(code) {
                    outcome.refused.push(Refused { index: place, reason });
                } else {
                    outcome.left.push(place);
                    outcome.code.get_or_insert(code);
                }
            }
        }
    }
    Ok(outcome)
}

/// Puts a record into the client's queue.
fn enqueue(
    producer: &Producer,
    topic: &str,
    (place, record): (usize, &Record),
    value: &[u8],
    timeout: Duration,
) -> Result<(), Code> {
    let uid = record.uid().to_string();
    let send = || {
        let headers = OwnedHeaders::new().insert(Header { key: "log.record.uid", value: Some(&uid) });
        let message = BaseRecord::with_opaque_to(topic, place)
            .key(record.origin.container_id.as_bytes())
            .payload(value)
            .timestamp(record.timestamp / 1_000_000)
            .headers(headers);
        let sent = producer.send(message);
        sent.map_err(|(error, _)| error.rdkafka_error_code().unwrap_or(Code::Unknown))
    };
    match send() {
        Err(code) if code != Code::MessageSizeTooLarge => {
            // It remembers what was wrong with a topic until it hears otherwise.
            producer.client().fetch_metadata(Some(topic), timeout.min(LONGEST_LOOK)).map_err(|_| code)?;
            send()
        }
        outcome => outcome,
    }
}

/// The value of a record.
pub(super) fn encode(encoder: Option<&mut Encoder>, record: &Record, value: &mut Vec<u8>) {
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
