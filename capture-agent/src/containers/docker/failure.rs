//! What goes wrong with a call to the engine.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use bollard::errors::Error;
use tokio_rustls::rustls;

use super::tls::{self, TlsError};

/// What went wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// There is no such socket.
    Missing,
    /// Nobody listens on the socket.
    Refused,
    /// The agent may not use the socket.
    Denied,
    /// No answer within the deadline.
    Timeout,
    /// The engine closed the connection before its answer was complete.
    Closed,
    /// The answer is not what a Docker engine says, or longer than one can be.
    Protocol,
    /// The engine answered with an HTTP error.
    Status,
    /// One side does not trust the other's certificate, or does not speak TLS.
    Tls,
    /// Any other failure of the socket.
    Io,
}

impl FailureKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Missing,
        Self::Refused,
        Self::Denied,
        Self::Timeout,
        Self::Closed,
        Self::Protocol,
        Self::Status,
        Self::Tls,
        Self::Io,
    ];

    /// Value of the `kind` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Refused => "refused",
            Self::Denied => "denied",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Protocol => "protocol",
            Self::Status => "status",
            Self::Tls => "tls",
            Self::Io => "io",
        }
    }

    fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::PermissionDenied => Self::Denied,
            io::ErrorKind::TimedOut => Self::Timeout,
            io::ErrorKind::InvalidData => Self::Protocol,
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io,
        }
    }
}

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

    /// Looks for what lies under an error of hyper or of the system: TLS reports as the latter.
    fn of_connection(error: &(dyn StdError + 'static), otherwise: FailureKind) -> Self {
        let mut io = None;
        let mut next = Some(error);
        while let Some(cause) = next {
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return Self::new(FailureKind::Tls, tls::explain(tls));
            }
            next = match cause.downcast_ref::<io::Error>() {
                // Its `source` would step over what it holds.
                Some(error) => {
                    io = Some(error);
                    error.get_ref().map(|inner| inner as _)
                }
                None => cause.source(),
            };
        }
        match io {
            Some(io) => Self::new(FailureKind::of_io(io), io.to_string()),
            None => Self::new(otherwise, error.to_string()),
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
    use super::*;

    fn of(err: io::Error) -> Failure {
        Failure::from(Error::IOError { err })
    }

    #[test]
    fn every_kind_stands_at_its_own_number() {
        for (index, kind) in FailureKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
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
