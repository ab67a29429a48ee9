//! What goes wrong with a socket.

use std::error::Error as StdError;
use std::io;

use tokio_rustls::rustls;

/// What went wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// There is no such socket, or no such host.
    Missing,
    /// Nobody listens on the socket.
    Refused,
    /// The agent may not use the socket.
    Denied,
    /// No answer within the deadline.
    Timeout,
    /// The peer closed the connection before its answer was complete.
    Closed,
    /// The answer is not what such a peer says, or longer than one can be.
    Protocol,
    /// The peer answered with an error of its protocol.
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

    pub(crate) fn of_io(error: &io::Error) -> Self {
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

/// What lies under an error of a connection.
pub(crate) enum RootCause<'a> {
    /// TLS, which reports through an error of the system.
    Tls(&'a rustls::Error),
    /// The system.
    Io(&'a io::Error),
    /// Neither.
    Other,
}

/// Looks for what lies under an error of hyper or of the system.
pub(crate) fn root_cause<'a>(error: &'a (dyn StdError + 'static)) -> RootCause<'a> {
    let mut found = RootCause::Other;
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return RootCause::Tls(tls);
        }
        next = match cause.downcast_ref::<io::Error>() {
            // Its `source` would step over what it holds.
            Some(error) => {
                found = RootCause::Io(error);
                error.get_ref().map(|inner| inner as _)
            }
            None => cause.source(),
        };
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_stands_at_its_own_number() {
        for (index, kind) in FailureKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
    }
}
