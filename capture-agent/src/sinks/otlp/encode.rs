//! Records as OTLP has them, by the semantic conventions 1.38.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::image::Image;
use crate::pipeline::record::{Attributes, Content, Level, Origin, Record};
use crate::sinks::encode::{attributes, gap_text, text_of};

/// Makes requests of records.
pub(super) struct Encoder {
    host: String,
    /// Attributes that the user adds to every resource; theirs win.
    resource: BTreeMap<String, String>,
}

impl Encoder {
    pub(super) fn new(host: String, resource: BTreeMap<String, String>) -> Self {
        Self { host, resource }
    }

    /// One resource for each container, in order of their first records.
    pub(super) fn encode(&self, records: &[Record]) -> ExportLogsServiceRequest {
        let mut resource_logs: Vec<ResourceLogs> = Vec::new();
        let mut places = HashMap::new();
        for record in records {
            let place = *places.entry(Arc::as_ptr(&record.origin)).or_insert_with(|| {
                resource_logs.push(self.resource_logs(&record.origin));
                resource_logs.len() - 1
            });
            resource_logs[place].scope_logs[0].log_records.push(log_record(record));
        }
        ExportLogsServiceRequest { resource_logs }
    }

    fn resource_logs(&self, origin: &Origin) -> ResourceLogs {
        let scope = InstrumentationScope {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        ResourceLogs {
            resource: Some(Resource { attributes: self.resource(origin), ..Resource::default() }),
            scope_logs: vec![ScopeLogs { scope: Some(scope), ..ScopeLogs::default() }],
            ..ResourceLogs::default()
        }
    }

    fn resource(&self, origin: &Origin) -> Vec<KeyValue> {
        let mut attributes = vec![text("container.id", &origin.container_id)];
        if let Some(metadata) = &origin.metadata {
            attributes.push(text("container.name", &metadata.name));
            // A command that the agent runs itself has no image, and no engine runs it.
            if !metadata.image.is_empty() {
                let Image { name, tag, repo_digest } = Image::parse(&metadata.image);
                attributes.push(text("container.image.name", name));
                attributes.extend(tag.map(|tag| list("container.image.tags", tag)));
                attributes.extend(repo_digest.map(|digest| list("container.image.repo_digests", &digest)));
                attributes.push(text("container.runtime.name", "docker"));
            }
            attributes
                .extend(metadata.labels.iter().map(|(key, value)| text(&format!("container.label.{key}"), value)));
        }
        attributes.push(text("host.name", &self.host));
        attributes.retain(|attribute| !self.resource.contains_key(&attribute.key));
        attributes.extend(self.resource.iter().map(|(key, value)| text(key, value)));
        attributes
    }
}

fn log_record(record: &Record) -> LogRecord {
    let time = record.timestamp.cast_unsigned();
    let mut log = LogRecord {
        time_unix_nano: time,
        // The time of a write is when the agent's own program saw it: both are one.
        observed_time_unix_nano: time,
        attributes: vec![
            text("log.iostream", record.stream.as_str()),
            text("log.record.uid", &record.uid().to_string()),
        ],
        ..LogRecord::default()
    };
    match &record.content {
        Content::Line { message, .. } | Content::Lines { data: message, .. } => {
            log.body = Some(match std::str::from_utf8(text_of(record, message)) {
                Ok(message) => any(Value::StringValue(message.to_owned())),
                // A string of OTLP is UTF-8. Nothing is lost this way.
                Err(_) => any(Value::BytesValue(message.to_vec())),
            });
            if matches!(record.content, Content::Line { partial: true, .. }) {
                log.attributes.push(attribute("capture.partial", Value::BoolValue(true)));
            }
        }
        Content::Gap { bytes, reason } => {
            log.body = Some(any(Value::StringValue(gap_text(record))));
            log.attributes.push(attribute("capture.lost_bytes", Value::IntValue(bytes.cast_signed())));
            log.attributes.extend(reason.map(|reason| text("capture.lost_reason", reason)));
        }
    }
    if let Some(attributes) = &record.attributes {
        describe(attributes, &mut log);
    }
    log
}

/// What the pipeline found in a record.
fn describe(found: &Attributes, log: &mut LogRecord) {
    if let Some(level) = found.level {
        let (number, name) = severity(level);
        log.severity_number = number.into();
        name.clone_into(&mut log.severity_text);
    }
    if let Some(writer) = found.writer {
        log.attributes.push(attribute("process.pid", Value::IntValue(writer.pid.into())));
        log.attributes.push(attribute("process.real_user.id", Value::IntValue(writer.uid.into())));
        // The kernel's command name is that of the thread.
        log.attributes.push(text("thread.name", &writer.command()));
    }
    for (name, value) in attributes::fields(found) {
        // Keys must be unique, and a line must not pass for another container's.
        if log.attributes.iter().any(|attribute| attribute.key == *name) {
            log.dropped_attributes_count += 1;
        } else {
            log.attributes.push(KeyValue { key: name.clone(), value: Some(json(value)), ..KeyValue::default() });
        }
    }
}

/// Number and short name of a severity, of the log data model.
fn severity(level: Level) -> (SeverityNumber, &'static str) {
    match level {
        Level::Trace => (SeverityNumber::Trace, "TRACE"),
        Level::Debug => (SeverityNumber::Debug, "DEBUG"),
        Level::Info => (SeverityNumber::Info, "INFO"),
        Level::Warn => (SeverityNumber::Warn, "WARN"),
        Level::Error => (SeverityNumber::Error, "ERROR"),
        Level::Fatal => (SeverityNumber::Fatal, "FATAL"),
    }
}

fn json(value: &serde_json::Value) -> AnyValue {
    use serde_json::Value as Json;
    AnyValue {
        // Null is a value that is not set.
        value: match value {
            Json::Null => None,
            Json::Bool(value) => Some(Value::BoolValue(*value)),
            Json::Number(value) => Some(match value.as_i64() {
                Some(value) => Value::IntValue(value),
                None => Value::DoubleValue(value.as_f64().unwrap_or(f64::NAN)),
            }),
            Json::String(value) => Some(Value::StringValue(value.clone())),
            Json::Array(values) => Some(Value::ArrayValue(ArrayValue { values: values.iter().map(json).collect() })),
            Json::Object(pairs) => {
                let pair = |(key, value): (&String, &Json)| KeyValue {
                    key: key.clone(),
                    value: Some(json(value)),
                    ..KeyValue::default()
                };
                Some(Value::KvlistValue(KeyValueList { values: pairs.iter().map(pair).collect() }))
            }
        },
    }
}

fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

/// A list of one text.
fn list(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::ArrayValue(ArrayValue { values: vec![any(Value::StringValue(value.to_owned()))] }))
}

#[cfg(test)]
mod tests {
    use capture_common::Stream;

    use super::*;
    use crate::containers::directory::Metadata;
    use crate::pipeline::record::Writer;

    fn record(origin: &Arc<Origin>, message: &'static [u8]) -> Record {
        Record {
            origin: Arc::clone(origin),
            stream: Stream::Stderr,
            timestamp: 1_700_000_000_000_000_042,
            completed: 0,
            position: 0,
            content: Content::Line { message: message.into(), newline: true, partial: false, omitted: 0 },
            attributes: None,
        }
    }

    fn origin(metadata: Option<Metadata>) -> Arc<Origin> {
        Arc::new(Origin::new("ab".repeat(32).into(), metadata.map(Arc::new), Arc::default()))
    }

    fn encoder(resource: &[(&str, &str)]) -> Encoder {
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Encoder::new("host-1".to_owned(), resource.iter().map(pair).collect())
    }

    fn value_of<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
        let found: Vec<_> = attributes.iter().filter(|attribute| attribute.key == key).collect();
        assert!(found.len() <= 1, "{key} is there {} times", found.len());
        found.first()?.value.as_ref()?.value.as_ref()
    }

    fn string(text: &str) -> Value {
        Value::StringValue(text.to_owned())
    }

    #[test]
    fn a_container_is_a_resource() {
        let metadata = Metadata {
            name: "web".to_owned(),
            image: "nginx:1.25".to_owned(),
            labels: BTreeMap::from([("team".to_owned(), "a".to_owned())]),
            ..Metadata::default()
        };
        let (known, unknown) = (origin(Some(metadata)), origin(None));
        let records = [record(&known, b"1"), record(&unknown, b"2"), record(&known, b"3")];
        let request = encoder(&[("deployment.environment.name", "test")]).encode(&records);
        assert_eq!(request.resource_logs.len(), 2);
        let of = |index: usize| &request.resource_logs[index];
        let attributes = |index| &of(index).resource.as_ref().unwrap().attributes[..];
        for (key, expected) in [
            ("container.id", &*"ab".repeat(32)),
            ("container.name", "web"),
            ("container.image.name", "nginx"),
            ("container.label.team", "a"),
            ("container.runtime.name", "docker"),
            ("host.name", "host-1"),
            ("deployment.environment.name", "test"),
        ] {
            assert_eq!(value_of(attributes(0), key), Some(&string(expected)), "{key}");
        }
        let tags = ArrayValue { values: vec![any(string("1.25"))] };
        assert_eq!(value_of(attributes(0), "container.image.tags"), Some(&Value::ArrayValue(tags)));
        let keys: Vec<_> = attributes(1).iter().map(|attribute| &*attribute.key).collect();
        assert_eq!(keys, ["container.id", "host.name", "deployment.environment.name"]);
        let scope = &of(0).scope_logs[0];
        assert_eq!((scope.scope.as_ref().unwrap().name.as_str(), scope.log_records.len()), ("capture-agent", 2));
    }

    #[test]
    fn the_users_attributes_win() {
        let request = encoder(&[("host.name", "mine")]).encode(&[record(&origin(None), b"")]);
        let attributes = &request.resource_logs[0].resource.as_ref().unwrap().attributes;
        assert_eq!(value_of(attributes, "host.name"), Some(&string("mine")));
    }

    #[test]
    fn a_record_has_its_time_its_stream_and_its_identity() {
        let record = record(&origin(None), b"hello");
        let log = log_record(&record);
        assert_eq!(
            (log.time_unix_nano, log.observed_time_unix_nano),
            (1_700_000_000_000_000_042, 1_700_000_000_000_000_042)
        );
        assert_eq!(value_of(&log.attributes, "log.iostream"), Some(&string("stderr")));
        assert_eq!(value_of(&log.attributes, "log.record.uid"), Some(&string(&record.uid().to_string())));
        assert_eq!((log.body, log.severity_number), (Some(any(string("hello"))), 0));
    }

    #[test]
    fn what_is_not_text_is_bytes_and_marks_are_attributes() {
        let origin = origin(None);
        assert_eq!(log_record(&record(&origin, b"a\xff")).body, Some(any(Value::BytesValue(b"a\xff".to_vec()))));
        let piece = Content::Line { message: b"a"[..].into(), newline: false, partial: true, omitted: 0 };
        let piece = log_record(&Record { content: piece, ..record(&origin, b"") });
        assert_eq!(value_of(&piece.attributes, "capture.partial"), Some(&Value::BoolValue(true)));
        let gap = Content::Gap { bytes: 7, reason: Some("ring_full") };
        let gap = log_record(&Record { content: gap, ..record(&origin, b"") });
        assert_eq!(value_of(&gap.attributes, "capture.lost_bytes"), Some(&Value::IntValue(7)));
        assert_eq!(value_of(&gap.attributes, "capture.lost_reason"), Some(&string("ring_full")));
    }

    #[test]
    fn what_the_pipeline_found_is_there_once() {
        let mut comm = [0; 16];
        comm[..5].copy_from_slice(b"nginx");
        let fields = vec![
            ("status".to_owned(), 500.into()),
            ("log.record.uid".to_owned(), "forged".into()),
            ("nested".to_owned(), serde_json::json!({"a": [1.5, null, true]})),
            ("status".to_owned(), 200.into()),
        ];
        let attributes =
            Attributes { level: Some(Level::Warn), fields, writer: Some(Writer { pid: 7, uid: 33, comm }) };
        let record = Record { attributes: Some(Box::new(attributes)), ..record(&origin(None), b"x") };
        let log = log_record(&record);
        assert_eq!((log.severity_number, &*log.severity_text), (13, "WARN"));
        assert_eq!(value_of(&log.attributes, "process.pid"), Some(&Value::IntValue(7)));
        assert_eq!(value_of(&log.attributes, "process.real_user.id"), Some(&Value::IntValue(33)));
        assert_eq!(value_of(&log.attributes, "thread.name"), Some(&string("nginx")));
        assert_eq!(value_of(&log.attributes, "status"), Some(&Value::IntValue(500)));
        assert_eq!(value_of(&log.attributes, "log.record.uid"), Some(&string(&record.uid().to_string())));
        assert_eq!(log.dropped_attributes_count, 2);
        let list = ArrayValue {
            values: vec![any(Value::DoubleValue(1.5)), AnyValue { value: None }, any(Value::BoolValue(true))],
        };
        let nested = KeyValueList { values: vec![attribute("a", Value::ArrayValue(list))] };
        assert_eq!(value_of(&log.attributes, "nested"), Some(&Value::KvlistValue(nested)));
    }
}
