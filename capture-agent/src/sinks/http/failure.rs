//! A request that got no answer.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use super::endpoint::Endpoint;
use super::tls;
use crate::sinks::delivery::SinkError;
use crate::socket::FailureKind;
use crate::socket::failure::{RootCause, root_cause};

/// A request that got no answer, or not a whole one.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub(in crate::sinks) struct Failure {
    pub(in crate::sinks) kind: FailureKind,
    /// One sentence that names the destination.
    pub(in crate::sinks) message: String,
}

impl Failure {
    pub(in crate::sinks) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(super) fn of_connect(error: &io::Error, endpoint: &Endpoint) -> Self {
        match root_cause(error) {
            RootCause::Tls(error) => Self::new(FailureKind::Tls, tls::explain(error, endpoint)),
            RootCause::Io(_) | RootCause::Other => {
                Self::new(FailureKind::of_io(error), format!("{endpoint} cannot be reached: {error}"))
            }
        }
    }

    pub(super) fn no_connection(timeout: Duration, endpoint: &Endpoint) -> Self {
        Self::new(FailureKind::Timeout, format!("{endpoint} cannot be reached: no connection within {timeout:?}"))
    }

    pub(in crate::sinks) fn no_answer(timeout: Duration, endpoint: &Endpoint) -> Self {
        Self::new(FailureKind::Timeout, format!("{endpoint} gave no answer within {timeout:?}"))
    }

    pub(super) fn of_exchange(error: &hyper::Error, endpoint: &Endpoint) -> Self {
        let is_closed = error.is_incomplete_message() || error.is_closed() || error.is_canceled();
        let otherwise = if is_closed { FailureKind::Closed } else { FailureKind::Protocol };
        Self::of_broken(error, otherwise, endpoint)
    }

    /// Of a connection that stood.
    pub(in crate::sinks) fn of_broken(
        error: &(dyn StdError + 'static),
        otherwise: FailureKind,
        endpoint: &Endpoint,
    ) -> Self {
        match root_cause(error) {
            // Since TLS 1.3 a server refuses a client's certificate after the handshake.
            RootCause::Tls(error) => Self::new(FailureKind::Tls, tls::explain(error, endpoint)),
            RootCause::Io(io) => Self::new(FailureKind::of_io(io), format!("the connection to {endpoint} broke: {io}")),
            RootCause::Other if otherwise == FailureKind::Closed => {
                Self::new(otherwise, format!("{endpoint} closed the connection before its answer was complete"))
            }
            RootCause::Other => {
                Self::new(otherwise, format!("what answers at {endpoint} does not speak HTTP: {error}"))
            }
        }
    }
}

/// Nothing is known of what became of the records: they are to be sent again.
impl From<Failure> for SinkError {
    fn from(failure: Failure) -> Self {
        Self::Retry { cause: failure.message, after: None }
    }
}
