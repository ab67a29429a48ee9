//! The section `docker`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Problem;
use super::units::Period;
use crate::containers::docker::{DockerConfig, TlsFiles};

/// The engine that is asked for names and labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DockerSection {
    /// Where the Docker engine listens: `unix:///path` or `tcp://host:port`. It is asked for names and labels only.
    pub host: String,

    /// Longest time that a call to the engine may take, from `100ms` to `5m`.
    #[serde(deserialize_with = "Period::deserialize_between::<_, 100, 300_000>")]
    pub deadline: Period,

    /// How often the engine's events are subscribed to anew and all containers are listed, from `1s` to `1h`.
    #[serde(deserialize_with = "Period::deserialize_between::<_, 1_000, 3_600_000>")]
    pub resubscribe: Period,

    /// Certificates (PEM) of those who may sign the engine's; with it, `tcp://` means TLS.
    pub tls_ca: Option<PathBuf>,

    /// The agent's own certificate with its chain (PEM), where the engine asks for one.
    pub tls_cert: Option<PathBuf>,

    /// Key of that certificate (PEM).
    pub tls_key: Option<PathBuf>,
}

impl Default for DockerSection {
    fn default() -> Self {
        let DockerConfig { endpoint, tls: _, deadline, resubscribe } = DockerConfig::default();
        Self {
            host: endpoint,
            deadline: Period(deadline),
            resubscribe: Period(resubscribe),
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
        }
    }
}

impl DockerSection {
    /// What makes no sense together.
    pub fn problems(&self, problems: &mut Vec<Problem>) {
        let pair = "a client certificate and its key go together; give --docker-tls-cert and --docker-tls-key";
        match (&self.tls_ca, &self.tls_cert, &self.tls_key) {
            (_, Some(_), None) => problems.push(Problem::of("docker.tls_cert", pair)),
            (_, None, Some(_)) => problems.push(Problem::of("docker.tls_key", pair)),
            (None, Some(_), Some(_)) => problems.push(Problem::of(
                "docker.tls_cert",
                "TLS needs the CA that signed the engine's certificate; give --docker-tls-ca as well",
            )),
            _ => {}
        }
    }

    /// What the client is made of. The files are not read yet.
    #[must_use]
    pub fn client(&self) -> DockerConfig {
        let client = self.tls_cert.clone().zip(self.tls_key.clone());
        DockerConfig {
            endpoint: self.host.clone(),
            tls: self.tls_ca.clone().map(|ca| TlsFiles { ca, client }),
            deadline: self.deadline.0,
            resubscribe: self.resubscribe.0,
        }
    }
}
