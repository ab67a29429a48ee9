//! OTLP over HTTP.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use flate2::write::GzEncoder;
use hyper::StatusCode;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use prost::Message as _;

use super::config::Compression;
use crate::sinks::delivery::SinkError;
use crate::sinks::http::Client;
use crate::sinks::http::answer::{Answer, quoted};
use crate::socket::SocketHealth;

/// Exports over HTTP.
pub(super) struct Http {
    client: Client,
    compression: Compression,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Http {
    /// The endpoint of `client` is the whole URL.
    pub(super) fn new(client: Client, compression: Compression) -> Self {
        let mut headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"))];
        if compression == Compression::Gzip {
            headers.push((CONTENT_ENCODING, HeaderValue::from_static("gzip")));
        }
        Self { client, compression, headers }
    }

    pub(super) fn health(&self) -> Arc<SocketHealth> {
        self.client.health()
    }

    #[cfg(test)]
    pub(super) fn endpoint(&self) -> String {
        self.client.endpoint().to_string()
    }

    pub(super) fn export(
        &mut self,
        request: &ExportLogsServiceRequest,
    ) -> Result<ExportLogsServiceResponse, SinkError> {
        let body = self.body(request);
        // A URL without a path has the root.
        let path = if self.client.endpoint().path.is_empty() { "/" } else { "" };
        let answer = self.client.post(path, &self.headers, &body)?;
        if answer.status.is_success() {
            // What is accepted stays accepted, whatever else is said.
            return Ok(ExportLogsServiceResponse::decode(answer.body).unwrap_or_default());
        }
        Err(self.error(&answer))
    }

    fn body(&self, request: &ExportLogsServiceRequest) -> Bytes {
        let plain = request.encode_to_vec();
        match self.compression {
            Compression::None => plain.into(),
            Compression::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
                // Writing to a vector cannot fail.
                let _ = encoder.write_all(&plain);
                encoder.finish().unwrap_or_default().into()
            }
        }
    }

    /// By the specification, section “Failures” of OTLP/HTTP: only 429, 502, 503 and 504 are to be tried again. 408 is, by
    /// that of HTTP.
    fn error(&self, answer: &Answer) -> SinkError {
        let said = StatusMessage::decode(answer.body.clone()).ok().filter(|status| !status.message.is_empty());
        let said = said.map_or_else(|| String::from_utf8_lossy(&answer.body).into_owned(), |status| status.message);
        let cause = format!("{} answers {}{}", self.client.endpoint(), answer.status, quoted(&said));
        match (answer.status, answer.error(self.client.endpoint())) {
            (
                StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT,
                SinkError::Retry { after, .. },
            ) => SinkError::Retry { cause, after },
            (status, SinkError::Retry { .. }) if status.is_server_error() => {
                SinkError::Refused { cause, reason: "rejected" }
            }
            (_, SinkError::Retry { after, .. }) => SinkError::Retry { cause, after },
            (_, SinkError::Refused { reason, .. }) => SinkError::Refused { cause, reason },
            (_, other) => other,
        }
    }
}

/// `google.rpc.Status`, as far as a message needs it.
#[derive(Clone, PartialEq, prost::Message)]
struct StatusMessage {
    #[prost(string, tag = "2")]
    message: String,
}
