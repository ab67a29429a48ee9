//! Records in an OpenTelemetry collector.

mod config;
mod encode;
mod environment;
mod grpc;
mod http;
mod image;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};

pub use self::config::{Compression, OtlpConfig, OtlpError, Protocol};
use self::encode::Encoder;
use self::grpc::Grpc;
use self::http::Http;
use super::delivery::{Receipt, Refused, Sink, SinkError};
use super::http::answer::quoted;
use super::pieces;
use crate::config::SinkName;
use crate::pipeline::record::Record;
use crate::socket::SocketHealth;

/// How often a warning of the receiver's is passed on.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Exports to an OTLP receiver.
pub struct Otlp {
    name: SinkName,
    transport: Transport,
    encoder: Encoder,
    last_warning: Option<Instant>,
}

enum Transport {
    Http(Box<Http>),
    Grpc(Box<Grpc>),
}

impl Otlp {
    fn new(name: SinkName, transport: Transport, encoder: Encoder) -> Self {
        Self { name, transport, encoder, last_warning: None }
    }

    fn export(&mut self, records: &[Record]) -> Result<Receipt, SinkError> {
        let request = self.encoder.encode(records);
        let response = self.send(&request)?;
        Ok(Receipt { refused: self.refused(&response, records.len()) })
    }

    fn send(&mut self, request: &ExportLogsServiceRequest) -> Result<ExportLogsServiceResponse, SinkError> {
        match &mut self.transport {
            Transport::Http(http) => http.export(request),
            Transport::Grpc(grpc) => grpc.export(request),
        }
    }

    /// What a partial success says was rejected: how many, and not which. It is the first ones that are booked.
    fn refused(&mut self, response: &ExportLogsServiceResponse, count: usize) -> Vec<Refused> {
        let Some(partial) = &response.partial_success else { return Vec::new() };
        let rejected = usize::try_from(partial.rejected_log_records).unwrap_or_default().min(count);
        let is_due = self.last_warning.is_none_or(|last| last.elapsed() > WARNING_INTERVAL);
        if is_due && (rejected > 0 || !partial.error_message.is_empty()) {
            self.last_warning = Some(Instant::now());
            let said = quoted(&partial.error_message);
            tracing::warn!(sink = %self.name, rejected, of = count, "the OTLP receiver rejected records{said}");
        }
        (0..rejected).map(|index| Refused { index, reason: "partial_success" }).collect()
    }
}

impl Sink for Otlp {
    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn connections(&self) -> Option<Arc<SocketHealth>> {
        Some(match &self.transport {
            Transport::Http(http) => http.health(),
            Transport::Grpc(grpc) => grpc.health(),
        })
    }

    fn write(&mut self, records: &[Record]) -> Result<Receipt, SinkError> {
        pieces::in_pieces(records, |piece| self.export(piece))
    }

    /// Exports nothing, which every receiver takes.
    fn check(&mut self) -> Result<(), SinkError> {
        self.send(&ExportLogsServiceRequest::default()).map(drop)
    }
}
