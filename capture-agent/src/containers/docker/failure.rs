//! What goes wrong with a call to the engine.

use std::error::Error as StdError;
use std::time::Duration;

use bollard::errors::Error;

use super::tls::{self, TlsError};
use crate::socket::failure::{FailureKind, RootCause, root_cause};

/// A call that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    /// The engine's HTTP status, if it gave one.
    pub(super) status: Option<u16>,
    message: String,
}

impl Failure {
    pub(super) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, status: None, message: message.into() }
    }

    pub(super) fn timeout(deadline: Duration) -> Self {
        Self::new(FailureKind::Timeout, format!("no answer within {deadline:?}"))
    }

    pub(super) fn status(status: u16) -> Self {
        Self { status: Some(status), ..Self::new(FailureKind::Status, format!("the engine answers {status}")) }
    }

    fn of_connection(error: &(dyn StdError + 'static), otherwise: FailureKind) -> Self {
        match root_cause(error) {
            RootCause::Tls(error) => Self::new(FailureKind::Tls, tls::explain(error)),
            RootCause::Io(error) => Self::new(FailureKind::of_io(error), error.to_string()),
            RootCause::Other => Self::new(otherwise, error.to_string()),
        }
    }
}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        let is_closed = error.is_incomplete_message() || error.is_closed() || error.is_canceled();
        let otherwise = if is_closed { FailureKind::Closed } else { FailureKind::Protocol };
        Self::of_connection(&error, otherwise)
    }
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        Self::new(FailureKind::Tls, error.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::IOError { err } => Self::of_connection(&err, FailureKind::Io),
            Error::HyperResponseError { err } => err.into(),
            Error::RequestTimeoutError => Self::new(FailureKind::Timeout, error.to_string()),
            Error::DockerResponseServerError { status_code, .. } => {
                Self { status: Some(status_code), ..Self::new(FailureKind::Status, error.to_string()) }
            }
            _ => Self::new(FailureKind::Protocol, error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio_rustls::rustls;

    use super::*;

    fn of(err: io::Error) -> Failure {
        Failure::from(Error::IOError { err })
    }

    #[test]
    fn a_missing_socket_is_told_apart_from_one_where_nobody_listens() {
        let kind = |kind: io::ErrorKind| of(kind.into()).kind;
        assert_eq!(kind(io::ErrorKind::NotFound), FailureKind::Missing);
        assert_eq!(kind(io::ErrorKind::ConnectionRefused), FailureKind::Refused);
        assert_eq!(kind(io::ErrorKind::PermissionDenied), FailureKind::Denied);
        assert_eq!(kind(io::ErrorKind::BrokenPipe), FailureKind::Closed);
    }

    #[test]
    fn a_failure_of_tls_is_found_inside_the_error_that_carries_it() {
        let issuer = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let failure = of(io::Error::new(io::ErrorKind::InvalidData, issuer));
        assert_eq!(failure.kind, FailureKind::Tls);
        assert!(failure.to_string().contains("--docker-tls-ca"), "{failure}");
        assert_eq!(of(io::Error::new(io::ErrorKind::InvalidData, "too long")).kind, FailureKind::Protocol);
    }
}
