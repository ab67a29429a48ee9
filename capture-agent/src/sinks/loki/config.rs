//! What can be said of Loki.

use std::collections::BTreeMap;

use hyper::header::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Loki;
use super::encode::Batcher;
use super::labels::{LabelError, Labels};
use crate::config::units::Period;
use crate::config::{BatchConfig, BufferConfig, RetryConfig, Secret, SinkContext, TlsConfig};
use crate::pipeline::select::FilterConfig;
use crate::sinks::encode::{Encoder, Encoding};
use crate::sinks::http::{AuthConfig, ClientConfig, ClientError};

/// Where Loki takes what is pushed.
const PUSH: &str = "/loki/api/v1/push";
/// The longest tenant that Loki takes, in bytes.
const LONGEST_TENANT: usize = 150;

/// Records in Grafana Loki, or in what speaks its push API.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LokiConfig {
    /// Where Loki is: `http://host:3100`, or `https://…`, with a path if it is behind one. `/loki/api/v1/push` is added.
    pub endpoint: String,

    /// Tenant, sent as `X-Scope-OrgID`. Without it Loki has to run with `auth_enabled: false`.
    #[serde(default)]
    pub tenant: Option<String>,

    /// Labels of a stream: names, and templates of their values in which `{container}`, `{stream}`, `{host}`,
    /// `{compose_project}`, `{compose_service}` and `{image}` are replaced. A label without a value is left out. Nothing
    /// else can be a label: Loki gets slow where there are many streams.
    #[serde(default = "default_labels")]
    pub labels: BTreeMap<String, String>,

    /// What each entry carries beside its line, where it is known. An empty list sends none of it, for a Loki that does
    /// not allow structured metadata.
    #[serde(default = "default_metadata")]
    pub structured_metadata: Vec<MetadataField>,

    /// How lines are written; `raw` is the line alone. Bytes that are not UTF-8 become U+FFFD, and the entry is marked.
    #[serde(default = "raw")]
    pub encoding: Encoding,

    /// Who the agent says it is.
    #[serde(default)]
    pub auth: AuthConfig,

    /// TLS, for an `https://` endpoint.
    #[serde(default)]
    pub tls: TlsConfig,

    /// More headers of each request.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,

    /// Longest time until a connection stands, TLS included.
    #[serde(default = "five_seconds")]
    pub connect_timeout: Period,

    /// Longest time for one request, from its first byte to the last one of its answer.
    #[serde(default = "thirty_seconds")]
    pub timeout: Period,

    /// Which records it is given.
    #[serde(default)]
    pub filter: FilterConfig,

    /// How records are put together into one request.
    #[serde(default)]
    pub batch: BatchConfig,

    /// Where records wait for it.
    #[serde(default)]
    pub buffer: BufferConfig,

    /// What becomes of a batch that could not be delivered.
    #[serde(default)]
    pub retry: RetryConfig,
}

/// What an entry can carry beside its line. Marks of incomplete lines, of bytes that are not UTF-8 and of missing output
/// are sent along with any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MetadataField {
    /// `container_id`: 64 hexadecimal digits.
    ContainerId,
    /// `log_record_uid`: the same when a record is delivered again.
    LogRecordUid,
    /// `level`: trace, debug, info, warn, error or fatal.
    Level,
    /// `pid`: process that wrote the line.
    Pid,
    /// `uid`: user of that process.
    Uid,
    /// `comm`: command name of that process.
    Comm,
    /// Each field of a line that was parsed, by its own name.
    Fields,
}

/// Why a [`LokiConfig`] is no good.
#[derive(Debug, thiserror::Error)]
pub enum LokiError {
    /// The way to it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The labels.
    #[error(transparent)]
    Labels(#[from] LabelError),
    /// Not a tenant that Loki takes.
    #[error("tenant {0:?} is not one that Loki takes: up to 150 letters, digits and !-_.*'()")]
    Tenant(String),
    /// A header that is a setting of its own.
    #[error("the header {0} is set by `tenant`; give it there")]
    TenantHeader(String),
}

impl LokiConfig {
    /// Loki at `endpoint`, and all else as by default.
    #[must_use]
    pub fn at(endpoint: String) -> Self {
        Self {
            endpoint,
            tenant: None,
            labels: default_labels(),
            structured_metadata: default_metadata(),
            encoding: raw(),
            auth: AuthConfig::default(),
            tls: TlsConfig::default(),
            headers: BTreeMap::new(),
            connect_timeout: five_seconds(),
            timeout: thirty_seconds(),
            filter: FilterConfig::default(),
            batch: BatchConfig::default(),
            buffer: BufferConfig::default(),
            retry: RetryConfig::default(),
        }
    }

    /// The sink. Files are read; nothing is connected to yet.
    ///
    /// # Errors
    ///
    /// [`LokiError`] where a setting or a file is no good.
    pub fn build(&self, context: SinkContext) -> Result<Loki, LokiError> {
        let labels = Labels::parse(&self.labels)?;
        if let Some(name) = self.headers.keys().find(|name| name.eq_ignore_ascii_case("x-scope-orgid")) {
            return Err(LokiError::TenantHeader(name.clone()));
        }
        let mut headers = vec![(hyper::header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"))];
        if let Some(tenant) = &self.tenant {
            headers.push((HeaderName::from_static("x-scope-orgid"), tenant_header(tenant)?));
        }
        // Whoever copies the whole address from elsewhere means the same.
        let endpoint = self.endpoint.trim_end_matches('/');
        let endpoint = endpoint.strip_suffix(PUSH).unwrap_or(endpoint).to_owned();
        let client = ClientConfig {
            endpoint,
            tls: self.tls.clone(),
            auth: self.auth.clone(),
            headers: self.headers.clone(),
            connect_timeout: self.connect_timeout.0,
            timeout: self.timeout.0,
        };
        let encoder = Encoder::new(self.encoding, context.host.clone(), false);
        let encoder = (self.encoding != Encoding::Raw).then_some(encoder);
        let batcher = Batcher::new(labels, context.host, encoder, self.structured_metadata.clone());
        Ok(Loki::new(context.name, client.build()?, headers, batcher))
    }
}

/// Loki's own rule, of `github.com/grafana/dskit/tenant`.
fn tenant_header(tenant: &str) -> Result<HeaderValue, LokiError> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
    let refused = || LokiError::Tenant(tenant.to_owned());
    if tenant.is_empty() || tenant.len() > LONGEST_TENANT || !tenant.chars().all(is_fine) {
        return Err(refused());
    }
    HeaderValue::from_str(tenant).map_err(|_| refused())
}

fn default_labels() -> BTreeMap<String, String> {
    ["container", "stream", "host", "compose_project", "compose_service"]
        .map(|name| (name.to_owned(), format!("{{{name}}}")))
        .into()
}

fn default_metadata() -> Vec<MetadataField> {
    use MetadataField::{Comm, ContainerId, Level, LogRecordUid, Pid, Uid};
    vec![ContainerId, LogRecordUid, Level, Pid, Uid, Comm]
}

fn raw() -> Encoding {
    Encoding::Raw
}

fn five_seconds() -> Period {
    Period::seconds(5)
}

fn thirty_seconds() -> Period {
    Period::seconds(30)
}
