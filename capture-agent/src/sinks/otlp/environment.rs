//! The environment that every OpenTelemetry exporter knows: `OTEL_EXPORTER_OTLP_*`, and its `…_LOGS_…` variants, which win.
//! What the configuration says wins over both.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::config::{Compression, OtlpError, Protocol};

/// What the environment says.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub(super) endpoint: Option<Address>,
    pub(super) protocol: Option<Protocol>,
    pub(super) is_insecure: bool,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) compression: Option<Compression>,
    pub(super) timeout: Option<Duration>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) cert_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
}

/// Where to send to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// For all signals: over HTTP, `/v1/logs` is added.
    Base(String),
    /// For logs alone, as it is.
    Logs(String),
}

impl Environment {
    /// Reads it by `variable`. An empty variable is one that is not set.
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, OtlpError> {
        let variable =
            |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        // With the name that was taken, for a message.
        let either = |what: &str| {
            let names = [format!("OTEL_EXPORTER_OTLP_LOGS_{what}"), format!("OTEL_EXPORTER_OTLP_{what}")];
            names.into_iter().find_map(|name| variable(&name).map(|value| (name, value)))
        };
        let invalid = |name: &str, expected| OtlpError::Variable { name: name.to_owned(), expected };

        let endpoint = variable("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT")
            .map(Address::Logs)
            .or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT").map(Address::Base));
        let protocol = match either("PROTOCOL") {
            None => None,
            Some((_, value)) if value == "grpc" => Some(Protocol::Grpc),
            Some((_, value)) if value == "http/protobuf" => Some(Protocol::HttpProtobuf),
            Some((name, _)) => return Err(invalid(&name, "grpc or http/protobuf")),
        };
        let compression = match either("COMPRESSION") {
            None => None,
            Some((_, value)) if value == "gzip" => Some(Compression::Gzip),
            Some((_, value)) if value == "none" => Some(Compression::None),
            Some((name, _)) => return Err(invalid(&name, "gzip or none")),
        };
        let timeout = match either("TIMEOUT") {
            None => None,
            Some((name, value)) => match value.parse() {
                Ok(milliseconds) if milliseconds > 0 => Some(Duration::from_millis(milliseconds)),
                _ => return Err(invalid(&name, "a number of milliseconds")),
            },
        };
        let headers = match either("HEADERS") {
            None => BTreeMap::new(),
            Some((name, value)) => {
                headers(&value).ok_or_else(|| invalid(&name, "key1=value1,key2=value2 with encoded values"))?
            }
        };
        let file = |what| either(what).map(|(_, value)| PathBuf::from(value));
        Ok(Self {
            endpoint,
            protocol,
            is_insecure: either("INSECURE").is_some_and(|(_, value)| value.eq_ignore_ascii_case("true")),
            headers,
            compression,
            timeout,
            ca_file: file("CERTIFICATE"),
            cert_file: file("CLIENT_CERTIFICATE"),
            key_file: file("CLIENT_KEY"),
        })
    }
}

/// `key1=value1,key2=value2`, the values percent-encoded, as in W3C baggage.
fn headers(text: &str) -> Option<BTreeMap<String, String>> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=')?;
            Some((key.trim().to_owned(), decoded(value.trim())?))
        })
        .collect()
}

/// Without its percent-encoding; a `%` that encodes nothing stands for itself.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let encoded = || u8::from_str_radix(std::str::from_utf8(after.get(..2)?).ok()?, 16).ok();
        if let (b'%', Some(value)) = (byte, encoded()) {
            bytes.push(value);
            rest = &after[2..];
        } else {
            bytes.push(*byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, OtlpError> {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Environment::read(find)
    }

    #[test]
    fn the_variables_of_logs_win() {
        let environment = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
            ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca"),
            ("OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY", "/key"),
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/cert"),
            ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
        ])
        .unwrap();
        assert_eq!(environment.endpoint, Some(Address::Base("http://all:4318".to_owned())));
        assert_eq!((environment.protocol, environment.compression), (Some(Protocol::Grpc), Some(Compression::Gzip)));
        assert_eq!(environment.timeout, Some(Duration::from_millis(1500)));
        let files = [environment.ca_file, environment.cert_file, environment.key_file];
        assert_eq!(files.map(Option::unwrap), ["/ca", "/cert", "/key"].map(PathBuf::from));
        assert!(environment.is_insecure);
        let logs =
            read(&[("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all")]);
        assert_eq!(logs.unwrap().endpoint, Some(Address::Logs("http://logs".to_owned())));
    }

    #[test]
    fn headers_are_decoded() {
        let environment = read(&[("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b%2Cc, x=%zz=1,")]).unwrap();
        let expected = [("api-key", "a b,c"), ("x", "%zz=1")];
        assert!(environment.headers.iter().map(|(key, value)| (&**key, &**value)).eq(expected));
    }

    #[test]
    fn what_makes_no_sense_is_named_and_not_quoted() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
            ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ] {
            let error = read(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name) && !error.contains("hunter2"), "{error}");
        }
        let environment = read(&[("OTEL_EXPORTER_OTLP_PROTOCOL", " ")]).unwrap();
        assert_eq!(environment.protocol, None);
    }
}
