//! What can be said of an OTLP receiver.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::encode::Encoder;
use super::environment::{Address, Environment};
use super::grpc::Grpc;
use super::http::Http;
use super::{Otlp, Transport};
use crate::config::units::Period;
use crate::config::{BatchConfig, BufferConfig, RetryConfig, Secret, SinkContext, TlsConfig};
use crate::pipeline::select::FilterConfig;
use crate::sinks::http::{AuthConfig, ClientConfig, ClientError};

/// Where logs are taken over HTTP.
const LOGS: &str = "/v1/logs";
const DEFAULT_HTTP: &str = "http://localhost:4318";
const DEFAULT_GRPC: &str = "http://localhost:4317";

/// Records in an OpenTelemetry collector, or in what speaks OTLP.
///
/// What is not given here is taken from the environment of every OpenTelemetry exporter, `OTEL_EXPORTER_OTLP_LOGS_…` and
/// `OTEL_EXPORTER_OTLP_…`: `ENDPOINT`, `PROTOCOL`, `HEADERS`, `COMPRESSION`, `TIMEOUT`, `INSECURE`, `CERTIFICATE`,
/// `CLIENT_CERTIFICATE` and `CLIENT_KEY`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpConfig {
    /// Where the receiver is: `http://host:port` or `https://host:port`. Over HTTP `/v1/logs` is added to its path. By
    /// default `http://localhost:4318`, and `http://localhost:4317` for gRPC.
    pub endpoint: Option<String>,

    /// How it is spoken to; by default `http/protobuf`.
    pub protocol: Option<Protocol>,

    /// How requests are compressed; by default `gzip`.
    pub compression: Option<Compression>,

    /// More attributes of every resource, such as `deployment.environment.name`.
    pub resource_attributes: BTreeMap<String, String>,

    /// Who the agent says it is.
    pub auth: AuthConfig,

    /// TLS, for an `https://` endpoint.
    pub tls: TlsConfig,

    /// More headers of each request; metadata of gRPC.
    pub headers: BTreeMap<String, Secret>,

    /// Longest time until a connection stands, TLS included; by default `5s`.
    pub connect_timeout: Option<Period>,

    /// Longest time for one request, from its first byte to the last one of its answer; by default `10s`.
    pub timeout: Option<Period>,

    /// Which records it is given.
    pub filter: FilterConfig,

    /// How records are put together into one request.
    pub batch: BatchConfig,

    /// Where records wait for it.
    pub buffer: BufferConfig,

    /// What becomes of a batch that could not be delivered.
    pub retry: RetryConfig,
}

/// How a receiver is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// Protobuf over gRPC, which is HTTP/2.
    #[serde(rename = "grpc")]
    Grpc,
    /// Protobuf over HTTP/1.1.
    #[default]
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
}

/// How requests are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// gzip.
    #[default]
    Gzip,
    /// Not at all.
    None,
}

/// Why an [`OtlpConfig`] is no good.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// The way to it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A variable of the environment. Its value is not repeated: it may be a secret.
    #[error("the environment variable {name} is not {expected}")]
    Variable {
        /// Its name.
        name: String,
        /// What it could be.
        expected: &'static str,
    },
}

impl OtlpConfig {
    /// The sink. Files and the environment are read; nothing is connected to yet.
    ///
    /// # Errors
    ///
    /// [`OtlpError`] where a setting, a variable or a file is no good.
    pub fn build(&self, context: SinkContext) -> Result<Otlp, OtlpError> {
        self.build_in(context, |name| std::env::var(name).ok())
    }

    pub(super) fn build_in(
        &self,
        context: SinkContext,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Otlp, OtlpError> {
        let environment = Environment::read(variable)?;
        let protocol = self.protocol.or(environment.protocol).unwrap_or_default();
        let compression = self.compression.or(environment.compression).unwrap_or_default();
        let endpoint = self.endpoint(&environment, protocol);
        let headers = if self.headers.is_empty() { secret(&environment.headers) } else { self.headers.clone() };
        let client = ClientConfig {
            tls: self.tls(&environment, &endpoint),
            endpoint,
            auth: self.auth.clone(),
            headers,
            connect_timeout: self.connect_timeout.unwrap_or(Period::seconds(5)).0,
            timeout: self.timeout.map(|period| period.0).or(environment.timeout).unwrap_or(Period::seconds(10).0),
        };
        let transport = match protocol {
            Protocol::HttpProtobuf => Transport::Http(Box::new(Http::new(client.build()?, compression))),
            Protocol::Grpc => Transport::Grpc(Box::new(Grpc::new(client, compression)?)),
        };
        Ok(Otlp::new(context.name, transport, Encoder::new(context.host, self.resource_attributes.clone())))
    }

    /// The whole URL.
    fn endpoint(&self, environment: &Environment, protocol: Protocol) -> String {
        match (protocol, &self.endpoint, &environment.endpoint) {
            (Protocol::HttpProtobuf, Some(base), _) | (Protocol::HttpProtobuf, None, Some(Address::Base(base))) => {
                with_path(base)
            }
            (Protocol::HttpProtobuf, None, Some(Address::Logs(whole))) => whole.clone(),
            (Protocol::HttpProtobuf, None, None) => with_path(DEFAULT_HTTP),
            (Protocol::Grpc, Some(endpoint), _) => endpoint.clone(),
            // Other implementations take `host:port` as well.
            (Protocol::Grpc, None, Some(Address::Base(endpoint) | Address::Logs(endpoint))) => {
                let scheme = if environment.is_insecure { "http" } else { "https" };
                if endpoint.contains("://") { endpoint.clone() } else { format!("{scheme}://{endpoint}") }
            }
            (Protocol::Grpc, None, None) => DEFAULT_GRPC.to_owned(),
        }
    }

    /// Files of the environment are for secure connections only.
    fn tls(&self, environment: &Environment, endpoint: &str) -> TlsConfig {
        if self.tls != TlsConfig::default() || !endpoint.starts_with("https://") {
            return self.tls.clone();
        }
        TlsConfig {
            ca_file: environment.ca_file.clone(),
            cert_file: environment.cert_file.clone(),
            key_file: environment.key_file.clone(),
            server_name: None,
        }
    }
}

/// Whoever copies the whole address from elsewhere means the same.
fn with_path(base: &str) -> String {
    let base = base.trim_end_matches('/');
    if base.ends_with(LOGS) { base.to_owned() } else { format!("{base}{LOGS}") }
}

fn secret(headers: &BTreeMap<String, String>) -> BTreeMap<String, Secret> {
    headers.iter().map(|(name, value)| (name.clone(), Secret::from(value.clone()))).collect()
}
