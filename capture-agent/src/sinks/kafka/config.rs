//! What can be said of Kafka.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Kafka;
use super::producer::Setup;
use super::topic::{Template, TopicError};
use crate::config::units::{Period, Size};
use crate::config::{BatchConfig, BufferConfig, RetryConfig, Secret, SecretError, SinkContext, TlsConfig};
use crate::pipeline::select::FilterConfig;
use crate::sinks::encode::{Encoder, Encoding};
use crate::socket::tls::{TlsError, TlsFiles};

/// Records in topics of Kafka, or of what speaks its protocol.
///
/// A record's key is its container's id, so that the records of a container are in one partition, in their order. The
/// producer is idempotent and waits for all replicas.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// Some of the cluster's brokers, as `host:port`; the others are found through them.
    pub brokers: Vec<String>,

    /// Topic in which `{container_name}`, `{compose_project}`, `{compose_service}`, `{stream}` and `{host}` are replaced.
    /// Characters that no topic has become `_`.
    pub topic: String,

    /// How values are written; `raw` is the line's exact bytes. None ends with a newline.
    #[serde(default)]
    pub encoding: Encoding,

    /// How batches are compressed.
    #[serde(default)]
    pub compression: KafkaCompression,

    /// Largest record, with its key and headers, that is sent: no more than the brokers' `message.max.bytes`. Larger ones
    /// are dropped, and counted.
    #[serde(default = "one_megabyte")]
    pub message_max_bytes: Size,

    /// TLS towards the brokers, if given; `{}` with the CAs that the host trusts. `server_name` cannot be set here.
    #[serde(default)]
    pub tls: Option<TlsConfig>,

    /// Who the agent says it is.
    #[serde(default)]
    pub sasl: Option<SaslConfig>,

    /// Longest time for the records of one batch, connections and the cluster's own recovery included.
    #[serde(default = "thirty_seconds")]
    pub timeout: Period,

    /// More properties of librdkafka, for what has no setting here: `client.id`, `socket.nagle.disable`.
    #[serde(default)]
    pub options: BTreeMap<String, Secret>,

    /// Which records it is given.
    #[serde(default)]
    pub filter: FilterConfig,

    /// How records are put together into one batch.
    #[serde(default)]
    pub batch: BatchConfig,

    /// Where records wait for it.
    #[serde(default)]
    pub buffer: BufferConfig,

    /// What becomes of records that could not be delivered.
    #[serde(default)]
    pub retry: RetryConfig,
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KafkaCompression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard; brokers since 2.1 have it.
    #[default]
    Zstd,
}

/// Who the agent says it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SaslConfig {
    /// How the password is proved. `PLAIN` shows it to the broker: use it with TLS.
    pub mechanism: SaslMechanism,
    /// User name.
    pub username: String,
    /// File with the password. Read again when it changes.
    pub password_file: PathBuf,
}

/// How a password is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SaslMechanism {
    /// RFC 4616.
    #[serde(rename = "PLAIN")]
    Plain,
    /// RFC 7677.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// The same with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// Why a [`KafkaConfig`] is no good.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// No broker.
    #[error("brokers is empty; give at least one, such as kafka:9092")]
    NoBroker,
    /// Not `host:port`.
    #[error("{0:?} is no broker; write host:port")]
    Broker(String),
    /// The topic.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// One of the TLS files.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A certificate without a key, or the other way round.
    #[error("a client certificate and its key go together; give tls.cert_file and tls.key_file")]
    HalfPair,
    /// Every broker has a name of its own.
    #[error("tls.server_name cannot be set for Kafka: each broker's certificate is for the broker's own host name")]
    ServerName,
    /// The password.
    #[error(transparent)]
    Password(#[from] SecretError),
    /// A property that has a setting of its own, or that the agent's promises rest on.
    #[error("options: {0} cannot be set here; {1}")]
    Option(String, &'static str),
    /// A property that librdkafka does not have, or not with this value, which is not repeated: it may be a secret.
    #[error("options: librdkafka does not take {0}, or not its value")]
    Unknown(String),
    /// librdkafka could not be started.
    #[error("the Kafka client cannot be started: {0}")]
    Client(String),
}

/// Properties that are not for `options`, and why.
const RESERVED: [(&str, &str); 16] = [
    ("bootstrap.servers", "give `brokers`"),
    ("metadata.broker.list", "give `brokers`"),
    ("enable.idempotence", "without it records could change their order"),
    ("acks", "all replicas are waited for"),
    ("request.required.acks", "all replicas are waited for"),
    ("max.in.flight", "without its default records could change their order"),
    ("max.in.flight.requests.per.connection", "without its default records could change their order"),
    ("message.timeout.ms", "give `timeout`"),
    ("delivery.timeout.ms", "give `timeout`"),
    ("compression.type", "give `compression`"),
    ("compression.codec", "give `compression`"),
    ("message.max.bytes", "give `message_max_bytes`"),
    ("security.protocol", "give `tls` and `sasl`"),
    ("sasl.password", "give `sasl`"),
    ("enable.ssl.certificate.verification", "certificates are always checked"),
    ("ssl.endpoint.identification.algorithm", "certificates are always checked"),
];

impl KafkaConfig {
    /// Records in one topic, and all else as by default.
    #[must_use]
    pub fn to(brokers: Vec<String>, topic: String) -> Self {
        Self {
            brokers,
            topic,
            encoding: Encoding::default(),
            compression: KafkaCompression::default(),
            message_max_bytes: one_megabyte(),
            tls: None,
            sasl: None,
            timeout: thirty_seconds(),
            options: BTreeMap::new(),
            filter: FilterConfig::default(),
            batch: BatchConfig::default(),
            buffer: BufferConfig::default(),
            retry: RetryConfig::default(),
        }
    }

    /// The sink. Files are read; brokers are looked for when there is something to send.
    ///
    /// # Errors
    ///
    /// [`KafkaError`] where a setting or a file is no good.
    pub fn build(&self, context: SinkContext) -> Result<Kafka, KafkaError> {
        let topic = Template::parse(&self.topic)?;
        let encoder = Encoder::new(self.encoding, context.host.clone(), false);
        let encoder = (self.encoding != Encoding::Raw).then_some(encoder);
        let setup = self.setup()?;
        Ok(Kafka::new(context, topic, encoder, setup, self.timeout.0))
    }

    fn setup(&self) -> Result<Setup, KafkaError> {
        if self.brokers.is_empty() {
            return Err(KafkaError::NoBroker);
        }
        let is_broker = |broker: &&String| {
            let port = broker.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
            port.is_none_or(|port| port.parse::<u16>().is_err()) || broker.contains(['/', ',', ' ', '@'])
        };
        if let Some(broker) = self.brokers.iter().find(is_broker) {
            return Err(KafkaError::Broker(broker.clone()));
        }
        let mut properties = ClientConfig::new();
        for (name, value) in &self.options {
            if let Some((_, why)) = RESERVED.iter().find(|(reserved, _)| reserved == name) {
                return Err(KafkaError::Option(name.clone(), why));
            }
            properties.set(name, value.expose());
            // All other properties are the agent's own, and right.
            properties.create_native_config().map_err(|_| KafkaError::Unknown(name.clone()))?;
        }
        let timeout = self.timeout.0.as_millis().to_string();
        properties
            .set("bootstrap.servers", self.brokers.join(","))
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", &timeout)
            .set("compression.type", self.compression.name())
            .set("message.max.bytes", self.message_max_bytes.0.to_string())
            // What waits is one batch; a limit of its own would only be in the way.
            .set("queue.buffering.max.messages", "0")
            .set("queue.buffering.max.kbytes", "2097151")
            .set("log.connection.close", "false")
            .set_log_level(RDKafkaLogLevel::Warning);
        let mut files = Vec::new();
        if let Some(tls) = &self.tls {
            files.extend(set_tls(tls, &mut properties)?);
        }
        if let Some(sasl) = &self.sasl {
            // Read here for an early error, and again for each client.
            Secret::from_file(&sasl.password_file)?;
            properties.set("sasl.mechanisms", sasl.mechanism.name()).set("sasl.username", &sasl.username);
            files.push(sasl.password_file.clone());
        }
        let protocol = match (self.tls.is_some(), self.sasl.is_some()) {
            (false, false) => "plaintext",
            (true, false) => "ssl",
            (false, true) => "sasl_plaintext",
            (true, true) => "sasl_ssl",
        };
        properties.set("security.protocol", protocol);
        let password_file = self.sasl.as_ref().map(|sasl| sasl.password_file.clone());
        Ok(Setup { properties, password_file, files, brokers: self.brokers.join(", ") })
    }
}

/// Sets the files, and gives those that are to be watched.
fn set_tls(tls: &TlsConfig, properties: &mut ClientConfig) -> Result<Vec<PathBuf>, KafkaError> {
    if tls.server_name.is_some() {
        return Err(KafkaError::ServerName);
    }
    let client = match (&tls.cert_file, &tls.key_file) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        _ => return Err(KafkaError::HalfPair),
    };
    let files = TlsFiles { ca: tls.ca_file.clone(), client };
    // librdkafka tells what is wrong with a file in its own words, and only when it connects.
    files.load()?;
    match &tls.ca_file {
        Some(path) => properties.set("ssl.ca.location", path.to_string_lossy()),
        // The TLS that is built in knows no place of its own.
        None => properties.set("ssl.ca.location", "probe"),
    };
    if let Some((certificate, key)) = &files.client {
        properties.set("ssl.certificate.location", certificate.to_string_lossy());
        properties.set("ssl.key.location", key.to_string_lossy());
    }
    Ok([tls.ca_file.clone()].into_iter().flatten().chain(files.client.into_iter().flat_map(|(a, b)| [a, b])).collect())
}

impl KafkaCompression {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl SaslMechanism {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// The default of brokers and of librdkafka.
fn one_megabyte() -> Size {
    Size(1_000_000)
}

fn thirty_seconds() -> Period {
    Period::seconds(30)
}
