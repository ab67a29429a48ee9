//! Where the engine is and how long to wait for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::DockerClient;
use super::connect::Connector;
use super::endpoint::Endpoint;
use super::tls::{Tls, TlsError, TlsFiles};
use crate::containers::directory::Directory;
use crate::socket::tcp::Resolver;

/// Where the engine is and how long to wait for it.
#[derive(Clone, Debug)]
pub struct DockerConfig {
    /// `unix:///path`, the path alone, or `tcp://host:port`.
    pub endpoint: String,
    /// Given, `tcp://` means TLS.
    pub tls: Option<TlsFiles>,
    /// Longest time that one call may take, from the connection to the last byte of its answer.
    pub deadline: Duration,
    /// Age at which the event stream is opened anew and all containers are listed, so that a half-dead one is found out.
    pub resubscribe: Duration,
}

impl Default for DockerConfig {
    fn default() -> Self {
        Self {
            endpoint: "unix:///var/run/docker.sock".to_owned(),
            tls: None,
            deadline: Duration::from_secs(5),
            resubscribe: Duration::from_secs(30),
        }
    }
}

/// Why a [`DockerConfig`] is no good. An engine that does not answer is none of these.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// A way to connect that is not known.
    #[error("cannot use the Docker endpoint {0}: give unix:///path/to/docker.sock or tcp://host:port")]
    Scheme(String),
    /// A path that depends on the working directory, or none.
    #[error("cannot use the Docker endpoint {0:?}: its path is not absolute; give unix:///path/to/docker.sock")]
    Path(String),
    /// No host, no port that there is, or a path behind them.
    #[error("cannot use the Docker endpoint {0}: give tcp://host:port, an IPv6 address in brackets, and no path")]
    Address(String),
    /// A name or a password, which is not repeated here.
    #[error("cannot use the Docker endpoint: it holds a user name; give tcp://host:port and a client certificate")]
    User,
    /// Nobody would be trusted.
    #[error(
        "cannot use the Docker endpoint {0}: TLS needs the CA that signed the engine's certificate; give --docker-tls-ca"
    )]
    NoCa(String),
    /// Certificates for a Unix socket.
    #[error("cannot use TLS with the Docker endpoint {0}: give tcp://host:port, or no --docker-tls-* files")]
    TlsOverUnix(String),
    /// The files for TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A duration of zero.
    #[error("the {0} of the Docker client is zero; give a time that is longer")]
    Zero(&'static str),
}

impl DockerConfig {
    /// A client that fills `directory` and answers the ids of `wanted` once it runs.
    ///
    /// # Errors
    ///
    /// The configuration is no good. The engine is not asked yet.
    pub fn build(
        &self,
        directory: Arc<Directory>,
        wanted: mpsc::Receiver<String>,
    ) -> Result<DockerClient, DockerError> {
        Ok(DockerClient::new(self.connector()?, self.resubscribe, directory, wanted))
    }

    /// What makes connections.
    ///
    /// # Errors
    ///
    /// The configuration is no good.
    pub(super) fn connector(&self) -> Result<Connector, DockerError> {
        for (name, duration) in [("deadline", self.deadline), ("resubscription interval", self.resubscribe)] {
            if duration.is_zero() {
                return Err(DockerError::Zero(name));
            }
        }
        let endpoint = Endpoint::parse(&self.endpoint, self.tls.is_some())?;
        let tls = match (&endpoint, &self.tls) {
            (_, None) => None,
            (Endpoint::Unix(_), Some(_)) => return Err(DockerError::TlsOverUnix(self.endpoint.clone())),
            (Endpoint::Tcp { host, .. }, Some(files)) => Some(Tls::new(files.clone(), host)?),
        };
        let (health, resolver) = (Arc::default(), Resolver::default());
        Ok(Connector { endpoint, tls, deadline: self.deadline, health, resolver })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(config: &DockerConfig) -> Option<String> {
        let (directory, wanted) = Directory::new();
        config.build(directory, wanted).err().map(|error| error.to_string())
    }

    #[test]
    fn certificates_for_a_unix_socket_are_refused() {
        assert_eq!(refusal(&DockerConfig::default()), None);
        let tls = Some(TlsFiles { ca: "/nowhere/ca.pem".into(), client: None });
        let refusal = refusal(&DockerConfig { tls, ..DockerConfig::default() }).unwrap();
        assert!(refusal.contains("tcp://host:port"), "{refusal}");
    }

    #[test]
    fn a_missing_or_wrong_file_is_named_and_not_quoted() {
        let directory = tempfile::tempdir().unwrap();
        let with = |ca: &std::path::Path| {
            let tls = Some(TlsFiles { ca: ca.to_owned(), client: None });
            refusal(&DockerConfig { endpoint: "tcp://build".to_owned(), tls, ..DockerConfig::default() }).unwrap()
        };
        let path = directory.path().join("ca.pem");
        let missing = with(&path);
        assert!(missing.contains(path.to_str().unwrap()) && missing.contains("cannot be read"), "{missing}");
        for content in ["hunter2", "-----BEGIN CERTIFICATE-----\nhunter2", "-----BEGIN hunter2"] {
            std::fs::write(&path, content).unwrap();
            let wrong = with(&path);
            assert!(wrong.contains(path.to_str().unwrap()) && wrong.contains("certificate"), "{wrong}");
            assert!(!wrong.contains("hunter2"), "{wrong}");
        }
    }

    #[test]
    fn a_deadline_of_zero_is_refused() {
        let config = DockerConfig { deadline: Duration::ZERO, ..DockerConfig::default() };
        assert!(refusal(&config).unwrap().contains("deadline"));
    }
}
