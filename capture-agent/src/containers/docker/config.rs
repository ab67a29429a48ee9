//! Where the engine is and how long to wait for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::DockerClient;
use crate::containers::directory::Directory;

/// Where the engine is and how long to wait for it.
#[derive(Clone, Debug)]
pub struct DockerConfig {
    /// `unix:///path`, or the path alone.
    pub endpoint: String,
    /// Longest time that one call may take.
    pub deadline: Duration,
    /// Age at which the event stream is opened anew, so that a half-dead one is found out.
    pub resubscribe: Duration,
}

impl Default for DockerConfig {
    fn default() -> Self {
        Self {
            endpoint: "unix:///var/run/docker.sock".to_owned(),
            deadline: Duration::from_secs(5),
            resubscribe: Duration::from_mins(1),
        }
    }
}

/// Why a [`DockerConfig`] is no good. An engine that does not answer is none of these.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// Something else than a Unix socket.
    #[error("cannot use the Docker endpoint {0}: only Unix sockets are supported; give unix:///path/to/docker.sock")]
    Scheme(String),
    /// A path that depends on the working directory, or none.
    #[error("cannot use the Docker endpoint {0:?}: its path is not absolute; give unix:///path/to/docker.sock")]
    Path(String),
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
        let socket = match self.endpoint.split_once("://") {
            None => self.endpoint.as_str(),
            Some(("unix", path)) => path,
            Some(_) => return Err(DockerError::Scheme(self.endpoint.clone())),
        };
        if !socket.starts_with('/') {
            return Err(DockerError::Path(self.endpoint.clone()));
        }
        for (name, duration) in [("deadline", self.deadline), ("resubscription interval", self.resubscribe)] {
            if duration.is_zero() {
                return Err(DockerError::Zero(name));
            }
        }
        Ok(DockerClient::new(socket.into(), self, directory, wanted))
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
    fn a_unix_socket_with_or_without_its_scheme_is_taken() {
        assert_eq!(refusal(&DockerConfig::default()), None);
        let config = DockerConfig { endpoint: "/run/docker.sock".to_owned(), ..DockerConfig::default() };
        assert_eq!(refusal(&config), None);
    }

    #[test]
    fn what_is_no_unix_socket_is_refused_by_name() {
        for endpoint in ["tcp://localhost:2375", "docker.sock", "unix://", ""] {
            let config = DockerConfig { endpoint: endpoint.to_owned(), ..DockerConfig::default() };
            let refusal = refusal(&config).unwrap();
            assert!(refusal.contains(endpoint) && refusal.contains("give unix:///"), "{refusal}");
        }
    }

    #[test]
    fn a_deadline_of_zero_is_refused() {
        let config = DockerConfig { deadline: Duration::ZERO, ..DockerConfig::default() };
        assert!(refusal(&config).unwrap().contains("deadline"));
    }
}
