//! What is said of a destination over HTTP or gRPC: TLS, who the agent is, headers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Client;
use super::connector::Connector;
use super::credentials::{Credentials, CredentialsError};
use super::endpoint::{Endpoint, EndpointError};
use super::tls::Tls;
use crate::config::{Secret, TlsConfig};
use crate::socket::tls::{TlsError, TlsFiles};

/// Who the agent says it is: by a bearer token, or by a user name and a password.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// File with a token that is sent as `Authorization: Bearer`. Read again when it changes.
    pub token_file: Option<PathBuf>,
    /// User name of basic authentication.
    pub username: Option<String>,
    /// File with the password of basic authentication. Read again when it changes.
    pub password_file: Option<PathBuf>,
}

/// What a [`Client`] needs, apart from what it sends.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// URL with an optional path.
    pub endpoint: String,
    /// Refused where the address is not `https://`.
    pub tls: TlsConfig,
    /// Who the agent is.
    pub auth: AuthConfig,
    /// More headers of each request.
    pub headers: BTreeMap<String, Secret>,
    /// Longest time until a connection stands, TLS included.
    pub connect_timeout: Duration,
    /// Longest time from a request's first byte to the last one of its answer.
    pub timeout: Duration,
}

/// Why a [`ClientConfig`] is no good.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// One of the TLS files.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// TLS settings for an address without TLS.
    #[error("tls is given, but the address {0} begins with http://; write https://, or leave tls out")]
    TlsUnused(Endpoint),
    /// A certificate without a key, or the other way round.
    #[error("a client certificate and its key go together; give tls.cert_file and tls.key_file")]
    HalfPair,
    /// Not a name that a certificate could be for.
    #[error("{0} is no host name that a certificate could be for")]
    ServerName(String),
    /// The token or the password.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// A header that HTTP does not have, or that is not for the user to set. Its value may be a secret.
    #[error("the header {0:?} cannot be set: {1}")]
    Header(String, &'static str),
    /// The system gave no descriptors.
    #[error("the sink's event loop cannot be started: {0}")]
    Runtime(std::io::Error),
}

impl ClientConfig {
    /// Reads the files and makes a client. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`ClientError`] where a setting or a file is no good.
    pub fn build(self) -> Result<Client, ClientError> {
        let (connector, headers, credentials, timeout) = self.parts()?;
        Client::new(connector, headers, credentials, timeout).map_err(ClientError::Runtime)
    }

    pub(in crate::sinks) fn parts(self) -> Result<(Connector, HeaderMap, Credentials, Duration), ClientError> {
        let endpoint: Endpoint = self.endpoint.parse()?;
        let tls = tls(self.tls, &endpoint)?;
        let credentials = Credentials::new(self.auth)?;
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers {
            let refuse = |why| ClientError::Header(name.clone(), why);
            let header: HeaderName = name.parse().map_err(|_| refuse("no header can have this name"))?;
            match header {
                CONTENT_LENGTH | CONTENT_TYPE | HOST => return Err(refuse("the agent sets it")),
                AUTHORIZATION if credentials.is_some() => return Err(refuse("auth is given, which sets it")),
                _ => {}
            }
            let mut value =
                HeaderValue::from_str(value.expose()).map_err(|_| refuse("no header can have its value"))?;
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        Ok((Connector::new(endpoint, tls, self.connect_timeout, self.timeout), headers, credentials, self.timeout))
    }
}

fn tls(config: TlsConfig, endpoint: &Endpoint) -> Result<Option<Tls>, ClientError> {
    if !endpoint.is_tls {
        let is_given = config != TlsConfig::default();
        return if is_given { Err(ClientError::TlsUnused(endpoint.clone())) } else { Ok(None) };
    }
    let client = match (config.cert_file, config.key_file) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate, key)),
        _ => return Err(ClientError::HalfPair),
    };
    let name = config.server_name.unwrap_or_else(|| endpoint.host.clone());
    Tls::new(TlsFiles { ca: config.ca_file, client }, &name).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(endpoint: &str) -> ClientConfig {
        ClientConfig {
            endpoint: endpoint.to_owned(),
            tls: TlsConfig::default(),
            auth: AuthConfig::default(),
            headers: BTreeMap::new(),
            connect_timeout: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
        }
    }

    fn secret(text: &str) -> Secret {
        serde_json::from_value(text.into()).unwrap()
    }

    fn refusal(config: ClientConfig) -> String {
        config.build().err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn settings_that_make_no_sense_together_are_refused() {
        assert_eq!(refusal(config("http://127.0.0.1")), "");
        let tls = TlsConfig { server_name: Some("a".to_owned()), ..TlsConfig::default() };
        assert!(refusal(ClientConfig { tls, ..config("http://a") }).contains("begins with http://"));
        let tls = TlsConfig { cert_file: Some("/a".into()), ..TlsConfig::default() };
        assert!(refusal(ClientConfig { tls, ..config("https://a") }).contains("tls.key_file"));
        let auth = AuthConfig { username: Some("me".to_owned()), ..AuthConfig::default() };
        assert!(refusal(ClientConfig { auth, ..config("http://a") }).contains("password_file"));
    }

    #[test]
    fn headers_are_checked_and_their_values_never_shown() {
        let with = |name: &str, value: &str| {
            let headers = BTreeMap::from([(name.to_owned(), secret(value))]);
            ClientConfig { headers, ..config("http://127.0.0.1") }
        };
        assert_eq!(refusal(with("X-Key", "hunter2")), "");
        for (name, value) in [("X Key", "hunter2"), ("Host", "hunter2"), ("X-Key", "hunter2\nx")] {
            let refusal = refusal(with(name, value));
            assert!(refusal.contains(name) && !refusal.contains("hunter2"), "{refusal}");
        }
        assert!(!format!("{:?}", with("X-Key", "hunter2")).contains("hunter2"));
    }

    #[test]
    fn an_authorization_is_given_one_way() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter2").unwrap();
        let auth = AuthConfig { token_file: Some(file.path().to_owned()), ..AuthConfig::default() };
        let headers = BTreeMap::from([("authorization".to_owned(), secret("Bearer x"))]);
        assert_eq!(refusal(ClientConfig { headers: headers.clone(), ..config("http://127.0.0.1") }), "");
        assert!(refusal(ClientConfig { auth, headers, ..config("http://127.0.0.1") }).contains("auth is given"));
    }
}
