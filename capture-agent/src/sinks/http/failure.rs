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
        // A request that was still to be sent is canceled when its connection fails; what failed is the cause.
        if error.is_canceled()
            && let Some(cause) = error.source().and_then(|cause| cause.downcast_ref::<hyper::Error>())
        {
            return Self::of_exchange(cause, endpoint);
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use http_body_util::Full;
    use hyper::Request;
    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;
    use tokio::io::AsyncWriteExt as _;

    use super::*;
    use crate::sinks::http::link::Link;

    #[tokio::test]
    async fn a_server_that_speaks_first_is_told_for_what_it_is() {
        let endpoint: Endpoint = "http://mail.example".parse().unwrap();
        let (client, mut server) = tokio::io::duplex(64);
        let (sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(client)).await.unwrap();
        let mut link = Link::new(sender, connection, &Arc::default());
        let (sender, connection) = link.split();
        connection.drive(sender.ready()).await.unwrap();
        // It comes in while the request waits to be sent.
        server.write_all(b"220 mail.example ESMTP ready\r\n").await.unwrap();
        let error = connection.drive(sender.send_request(Request::new(Full::default()))).await.unwrap_err();
        assert!(error.is_canceled(), "{error:?}");
        let failure = Failure::of_exchange(&error, &endpoint);
        assert_eq!(failure.kind, FailureKind::Protocol);
        assert!(failure.message.contains("mail.example does not speak HTTP"), "{failure}");
    }
}
