//! The section `sinks`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize};

use super::{BufferConfig, Problem, RetryConfig};
use crate::delivery::BatchLimits;
use crate::pipeline::select::FilterConfig;
use crate::sinks::console::ConsoleConfig;
use crate::sinks::delivery::Sink;
use crate::sinks::file::FileConfig;
use crate::sinks::kafka::KafkaConfig;
use crate::sinks::loki::LokiConfig;
use crate::sinks::otlp::OtlpConfig;

// A kind of sink is a variant here and in `ByType`, and an arm in the functions below them.
/// Where records go.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SinkConfig {
    /// Records on standard output.
    Console(ConsoleConfig),
    /// Records in files, one for each value of a path template. A file that grows by 8 MiB within a second has as much disk space
    /// taken ahead, which is given back when it comes to rest.
    File(FileConfig),
    /// Records in Grafana Loki, or in what speaks its push API.
    Loki(Box<LokiConfig>),
    /// Records in an OpenTelemetry collector, or in what speaks OTLP. What is not given here is taken from the environment
    /// of every OpenTelemetry exporter, `OTEL_EXPORTER_OTLP_LOGS_…` and `OTEL_EXPORTER_OTLP_…`: `ENDPOINT`, `PROTOCOL`,
    /// `HEADERS`, `COMPRESSION`, `TIMEOUT`, `INSECURE`, `CERTIFICATE`, `CLIENT_CERTIFICATE` and `CLIENT_KEY`.
    Otlp(Box<OtlpConfig>),
    /// Records in topics of Kafka, or of what speaks its protocol. A record's key is its container's id, so that the
    /// records of a container are in one partition, in their order; the producer is idempotent and waits for all replicas.
    Kafka(Box<KafkaConfig>),
}

/// The same for serde, whose own way to read the tag forgets where everything stands: see [`super::yaml`].
#[derive(Deserialize)]
#[serde(remote = "SinkConfig", rename_all = "snake_case")]
enum ByType {
    Console(ConsoleConfig),
    File(FileConfig),
    Loki(Box<LokiConfig>),
    Otlp(Box<OtlpConfig>),
    Kafka(Box<KafkaConfig>),
}

impl<'de> Deserialize<'de> for SinkConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ByType::deserialize(deserializer)
    }
}

impl SinkConfig {
    /// Value of `type`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Console(_) => "console",
            Self::File(_) => "file",
            Self::Loki(_) => "loki",
            Self::Otlp(_) => "otlp",
            Self::Kafka(_) => "kafka",
        }
    }

    /// Which records it is given.
    #[must_use]
    pub fn filter(&self) -> &FilterConfig {
        match self {
            Self::Console(config) => &config.filter,
            Self::File(config) => &config.filter,
            Self::Loki(config) => &config.filter,
            Self::Otlp(config) => &config.filter,
            Self::Kafka(config) => &config.filter,
        }
    }

    /// Where records wait for it.
    #[must_use]
    pub fn buffer(&self) -> &BufferConfig {
        match self {
            Self::Console(config) => &config.buffer,
            Self::File(config) => &config.buffer,
            Self::Loki(config) => &config.buffer,
            Self::Otlp(config) => &config.buffer,
            Self::Kafka(config) => &config.buffer,
        }
    }

    /// How records are put together for it.
    #[must_use]
    pub fn batch(&self) -> BatchLimits {
        match self {
            Self::Console(config) => config.batch.limits(),
            Self::File(config) => config.batch.limits(),
            Self::Loki(config) => config.batch.limits(),
            Self::Otlp(config) => config.batch.limits(),
            Self::Kafka(config) => config.batch.limits(),
        }
    }

    /// When it is asked again; `None` where that makes no sense.
    #[must_use]
    pub fn retry(&self) -> Option<&RetryConfig> {
        match self {
            Self::Console(_) => None,
            Self::File(config) => Some(&config.retry),
            Self::Loki(config) => Some(&config.retry),
            Self::Otlp(config) => Some(&config.retry),
            Self::Kafka(config) => Some(&config.retry),
        }
    }

    /// Makes the sink. Nothing is opened or connected to yet.
    ///
    /// # Errors
    ///
    /// What the sink has against its configuration.
    pub fn build(&self, context: SinkContext) -> Result<Box<dyn Sink>, BuildError> {
        let name = context.name.clone();
        match self {
            Self::Console(config) => Ok(Box::new(config.build(context))),
            Self::File(config) => Ok(Box::new(config.build(context))),
            Self::Loki(config) => config.build(context).map(boxed).map_err(|error| BuildError::new(name, error)),
            Self::Otlp(config) => config.build(context).map(boxed).map_err(|error| BuildError::new(name, error)),
            Self::Kafka(config) => config.build(context).map(boxed).map_err(|error| BuildError::new(name, error)),
        }
    }

    fn problems(&self, path: &str, problems: &mut Vec<Problem>) {
        self.buffer().problems(&format!("{path}.buffer"), problems);
        match self {
            Self::Console(_) => {}
            Self::File(config) => {
                config.retry.problems(&format!("{path}.retry"), problems);
                if let Some(rotation) = &config.rotation {
                    rotation.problems(&format!("{path}.rotation"), problems);
                }
            }
            Self::Loki(config) => {
                config.retry.problems(&format!("{path}.retry"), problems);
                config.tls.problems(&format!("{path}.tls"), problems);
            }
            Self::Otlp(config) => {
                config.retry.problems(&format!("{path}.retry"), problems);
                config.tls.problems(&format!("{path}.tls"), problems);
            }
            Self::Kafka(config) => {
                config.retry.problems(&format!("{path}.retry"), problems);
                if let Some(tls) = &config.tls {
                    tls.problems(&format!("{path}.tls"), problems);
                }
            }
        }
    }
}

fn boxed(sink: impl Sink + 'static) -> Box<dyn Sink> {
    Box::new(sink)
}

/// What a sink is told beside its configuration.
#[derive(Clone, Debug)]
pub struct SinkContext {
    /// Its name.
    pub name: SinkName,
    /// Name of this machine, for the records.
    pub host: String,
}

impl SinkContext {
    /// For a sink of this machine.
    #[must_use]
    pub fn new(name: SinkName) -> Self {
        Self { name, host: rustix::system::uname().nodename().to_string_lossy().into_owned() }
    }
}

/// Why a sink cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("sinks.{sink}: {cause}")]
pub struct BuildError {
    /// Which one.
    pub sink: SinkName,
    /// One sentence; it quotes no secret.
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}

impl BuildError {
    fn new(sink: SinkName, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { sink, cause: Box::new(cause) }
    }
}

/// Sinks by name.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Sinks(pub BTreeMap<SinkName, SinkConfig>);

impl Sinks {
    /// One sink, by the name that the `pipeline` label had before there were others.
    #[must_use]
    pub fn one(config: SinkConfig) -> Self {
        Self([(SinkName("default".into()), config)].into())
    }

    /// JSON on standard output, if there is no other.
    #[must_use]
    pub fn or_default(self) -> Self {
        if self.0.is_empty() { Self::one(SinkConfig::Console(ConsoleConfig::default())) } else { self }
    }

    pub(super) fn problems(&self, problems: &mut Vec<Problem>) {
        for (name, sink) in &self.0 {
            sink.problems(&format!("sinks.{name}"), problems);
        }
    }
}

/// What a sink is called: in messages, in metrics and in the name of its thread and its buffer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SinkName(Box<str>);

/// Longest name of a sink.
const MAX_NAME: usize = 64;
const NAME_EXPECTED: &str = "a name of up to 64 lower-case letters, digits, `-` and `_`, a letter first";

/// A text is no name of a sink.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not {NAME_EXPECTED}")]
pub struct SinkNameError;

impl SinkName {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SinkName {
    type Err = SinkNameError;

    fn from_str(text: &str) -> Result<Self, SinkNameError> {
        let is_fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        let begins_well = text.starts_with(|first: char| first.is_ascii_lowercase());
        if begins_well && text.len() <= MAX_NAME && text.chars().all(is_fine) {
            Ok(Self(text.into()))
        } else {
            Err(SinkNameError)
        }
    }
}

impl fmt::Display for SinkName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SinkName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|SinkNameError| D::Error::invalid_value(Unexpected::Str(&text), &NAME_EXPECTED))
    }
}

impl JsonSchema for SinkName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SinkName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[a-z][a-z0-9_-]{0,63}$" })
    }
}

#[cfg(test)]
mod network_tests;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::load;
    use crate::config::yaml::Interpolation;

    fn sinks(text: &str) -> Result<Sinks, Vec<String>> {
        let loaded = load(text, &Interpolation::Refused, &|_| Vec::new());
        loaded
            .map(|(config, _)| config.sinks)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn sinks_have_names_and_types() {
        let sinks =
            sinks("sinks:\n  out: {type: console, encoding: text}\n  all-1: {type: file, path: '/x/{stream}'}\n");
        let sinks = sinks.unwrap();
        let kinds: Vec<_> = sinks.0.iter().map(|(name, sink)| (name.as_str(), sink.kind())).collect();
        assert_eq!(kinds, [("all-1", "file"), ("out", "console")]);
        for (name, sink) in &sinks.0 {
            let built = sink.build(SinkContext::new(name.clone())).unwrap();
            assert_eq!(built.name(), name.as_str());
        }
    }

    #[test]
    fn without_any_there_is_one_on_standard_output() {
        for text in ["", "sinks:\n", "sinks: {}\n"] {
            let sinks = sinks(text).unwrap().or_default();
            let names: Vec<_> = sinks.0.iter().map(|(name, sink)| (name.as_str(), sink.kind())).collect();
            assert_eq!(names, [("default", "console")], "{text:?}");
        }
        assert_eq!(sinks("sinks: {x: {type: console}}").unwrap().or_default().0.len(), 1);
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let names = "a name of up to 64 lower-case letters, digits, `-` and `_`, a letter first";
        let long = "x".repeat(65);
        for (text, expected) in [
            ("sinks: {X: {type: console}}".to_owned(), format!("1:9: sinks: expected {names}, found `X`")),
            (format!("sinks: {{{long}: {{type: console}}}}"), format!("1:9: sinks: expected {names}, found `{long}`")),
            (
                "sinks:\n  a:\n    type: syslog".to_owned(),
                "3:11: sinks.a.type: expected `console`, `file`, `loki`, `otlp` or `kafka`, found `syslog`".to_owned(),
            ),
            (
                "sinks: {a: {type: loki, endpoint: http://x, tls: {key_file: /k}}}".to_owned(),
                "1:51: sinks.a.tls.key_file: a client certificate and its key go together; give both `cert_file` and \
                 `key_file`"
                    .to_owned(),
            ),
            (
                "sinks:\n  a:\n    type: console\n    pth: x".to_owned(),
                "4:5: sinks.a: unknown key `pth`; the keys here are `filter`, `encoding`, `gap_marker`, `batch` and \
                 `buffer`"
                    .to_owned(),
            ),
            ("sinks:\n  a:\n    type: file".to_owned(), "3:5: sinks.a: the key `path` is missing".to_owned()),
            (
                "sinks: {a: {type: file, path: '/x/{nmae}'}}".to_owned(),
                "1:31: sinks.a.path: unknown field {nmae}; the fields are {container_name}, {container_id} and {stream}"
                    .to_owned(),
            ),
            (
                "sinks:\n  a:\n    type: console\n    buffer:\n      path: /x".to_owned(),
                "5:7: sinks.a.buffer.path: this is for a buffer on disk, and this one is in memory; give `type: disk`, \
                 or take the key away"
                    .to_owned(),
            ),
            (
                "sinks: {a: {type: file, path: x, retry: {initial: 1m}}}".to_owned(),
                "1:42: sinks.a.retry.initial: the first pause, 1m, is longer than the longest, 30s".to_owned(),
            ),
            (
                "sinks: {a: {type: file, path: x, rotation: {keep: 3}}}".to_owned(),
                "1:34: sinks.a.rotation: nothing says when a file is moved away; give `max_bytes`, `max_age` or both"
                    .to_owned(),
            ),
            (
                "sinks: {a: {type: file, path: x, retry: {dead_letter_path: x}}}".to_owned(),
                "1:42: sinks.a.retry.dead_letter_path: give an absolute path".to_owned(),
            ),
        ] {
            assert_eq!(sinks(&text).unwrap_err(), [expected]);
        }
    }
}
