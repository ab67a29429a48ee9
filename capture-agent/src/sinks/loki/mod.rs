//! Records in Grafana Loki.

mod config;
mod encode;
mod labels;
mod push;
mod refusals;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use prost::Message as _;

pub use self::config::{LokiConfig, LokiError, MetadataField};
use self::encode::{Batch, Batcher};
pub use self::labels::LabelError;
use self::push::PushRequest;
use super::delivery::{Receipt, Refused, Sink, SinkError};
use super::http::Client;
use super::http::answer::{Answer, TOO_LARGE, quoted};
use super::pieces;
use crate::config::SinkName;
use crate::pipeline::record::Record;
use crate::socket::SocketHealth;

/// Path of the push API.
const PUSH: &str = "/loki/api/v1/push";
/// What a Loki answers by default that was told to take nothing more of a tenant (`block_ingestion_status_code`). It
/// looks like success so that clients do not complain.
const BLOCKED: u16 = 260;

/// Pushes to Loki.
pub struct Loki {
    name: SinkName,
    client: Client,
    headers: Vec<(HeaderName, HeaderValue)>,
    batcher: Batcher,
}

impl Loki {
    fn new(name: SinkName, client: Client, headers: Vec<(HeaderName, HeaderValue)>, batcher: Batcher) -> Self {
        Self { name, client, headers, batcher }
    }

    fn push(&mut self, records: &[Record]) -> Result<Receipt, SinkError> {
        let batch = self.batcher.encode(records);
        let answer = self.post(&batch.request)?;
        let refused = self.refused(&answer, &batch)?;
        self.batcher.delivered(batch);
        Ok(Receipt { refused })
    }

    fn post(&mut self, request: &PushRequest) -> Result<Answer, SinkError> {
        let too_large =
            |error| SinkError::Refused { cause: format!("a push cannot be made: {error}"), reason: TOO_LARGE };
        let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).map_err(too_large)?;
        Ok(self.client.post(PUSH, &self.headers, &Bytes::from(body))?)
    }

    /// The records that Loki did not store of a push that it answered.
    fn refused(&self, answer: &Answer, batch: &Batch) -> Result<Vec<Refused>, SinkError> {
        let endpoint = self.client.endpoint();
        let text = String::from_utf8_lossy(&answer.body);
        match answer.status {
            status if status.as_u16() == BLOCKED => {
                let cause = format!("{endpoint} takes nothing of this tenant{}", quoted(&text));
                Err(SinkError::Refused { cause, reason: "blocked" })
            }
            status if status.is_success() => Ok(Vec::new()),
            StatusCode::BAD_REQUEST => match refusals::read(&text, &batch.streams) {
                Some(refused) => {
                    tracing::debug!(sink = %self.name, records = refused.len(), answer = quoted(&text), "refused");
                    Ok(refused)
                }
                None => Err(answer.error(endpoint)),
            },
            // A limit of Loki's own parts, which another try would meet as well.
            status if status.is_server_error() && text.contains("received message larger than max") => {
                let cause = format!("{endpoint} finds a push too large{}", quoted(&text));
                Err(SinkError::Refused { cause, reason: TOO_LARGE })
            }
            _ => Err(answer.error(endpoint)),
        }
    }
}

impl Sink for Loki {
    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn connections(&self) -> Option<Arc<SocketHealth>> {
        Some(self.client.health())
    }

    fn write(&mut self, records: &[Record]) -> Result<Receipt, SinkError> {
        pieces::in_pieces(records, |piece| self.push(piece))
    }

    /// Pushes nothing: that passes whatever stands before Loki and asks for the right to push, which `/ready` and queries
    /// do not. Loki answers it with success or, since 3.2, with 422.
    fn check(&mut self) -> Result<(), SinkError> {
        let answer = self.post(&PushRequest::default())?;
        let text = String::from_utf8_lossy(&answer.body);
        let is_understood =
            answer.status == StatusCode::UNPROCESSABLE_ENTITY || text.contains("at least one valid stream is required");
        if answer.status.is_success() || is_understood { Ok(()) } else { Err(answer.error(self.client.endpoint())) }
    }
}
