//! Where the Docker engine is, as the command line and Docker's own environment say it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;

use super::period::Period;
use crate::containers::docker::{DockerConfig, TlsFiles};

/// The engine that is asked for names and labels.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Docker engine")]
pub struct DockerArgs {
    /// Where the Docker engine listens: `unix:///path` or `tcp://host:port`. It is asked for names and labels only.
    #[arg(
        long = "docker-host",
        value_name = "ENDPOINT",
        default_value = "unix:///var/run/docker.sock",
        env = "DOCKER_HOST"
    )]
    host: String,

    /// Longest time that a call to the engine may take, from 100ms to 5m.
    #[arg(long = "docker-deadline", value_name = "TIME", default_value = "5s", env = "CAPTURE_AGENT_DOCKER_DEADLINE",
          value_parser = Period::between(Duration::from_millis(100), Duration::from_mins(5)))]
    deadline: Period,

    /// How often the engine's events are subscribed to anew and all containers are listed, from 1s to 1h.
    #[arg(long = "docker-resubscribe", value_name = "TIME", default_value = "30s",
          env = "CAPTURE_AGENT_DOCKER_RESUBSCRIBE",
          value_parser = Period::between(Duration::from_secs(1), Duration::from_hours(1)))]
    resubscribe: Period,

    /// Certificates (PEM) of those who may sign the engine's; with it, tcp:// means TLS.
    ///
    /// Without it, `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` count as for the docker command.
    #[arg(long = "docker-tls-ca", value_name = "FILE", env = "CAPTURE_AGENT_DOCKER_TLS_CA")]
    tls_ca: Option<PathBuf>,

    /// The agent's own certificate with its chain (PEM), where the engine asks for one.
    #[arg(long = "docker-tls-cert", value_name = "FILE", env = "CAPTURE_AGENT_DOCKER_TLS_CERT")]
    tls_cert: Option<PathBuf>,

    /// Key of that certificate (PEM).
    #[arg(long = "docker-tls-key", value_name = "FILE", env = "CAPTURE_AGENT_DOCKER_TLS_KEY")]
    tls_key: Option<PathBuf>,
}

impl DockerArgs {
    /// What the arguments and the environment come to. The files are not read yet.
    ///
    /// # Errors
    ///
    /// TLS files that make no sense together.
    pub fn config(self) -> anyhow::Result<DockerConfig> {
        let defaults = DockerConfig::default();
        let client = match (self.tls_cert, self.tls_key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            _ => bail!("a client certificate and its key go together; give --docker-tls-cert and --docker-tls-key"),
        };
        let is_unix = self.host.is_empty() || self.host.starts_with('/') || self.host.starts_with("unix:");
        let tls = match (self.tls_ca, client) {
            (Some(ca), client) => Some(TlsFiles { ca, client }),
            (None, Some(_)) => {
                bail!("TLS needs the CA that signed the engine's certificate; give --docker-tls-ca as well")
            }
            // As for the docker command, the environment says nothing of Unix sockets.
            (None, None) if is_unix => None,
            (None, None) => from_environment(|name| std::env::var_os(name))?,
        };
        // An empty DOCKER_HOST is none.
        let endpoint = if self.host.is_empty() { defaults.endpoint } else { self.host };
        Ok(DockerConfig { endpoint, tls, deadline: self.deadline.0, resubscribe: self.resubscribe.0 })
    }
}

/// The files that the docker command would take: `ca.pem`, `cert.pem` and `key.pem` of one directory.
fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> anyhow::Result<Option<TlsFiles>> {
    let variable = |name| variable(name).filter(|value| !value.is_empty());
    if variable("DOCKER_TLS_VERIFY").is_none() {
        return Ok(None);
    }
    let directory = match (variable("DOCKER_CERT_PATH"), variable("HOME")) {
        (Some(directory), _) => PathBuf::from(directory),
        (None, Some(home)) => Path::new(&home).join(".docker"),
        (None, None) => {
            return Err(anyhow::anyhow!("neither DOCKER_CERT_PATH nor HOME is set"))
                .context("DOCKER_TLS_VERIFY is set, but there is no directory with certificates");
        }
    };
    let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    // An engine need not ask for a client certificate. One file without the other is for the reader to complain of.
    let client = (certificate.exists() || key.exists()).then_some((certificate, key));
    Ok(Some(TlsFiles { ca: directory.join("ca.pem"), client }))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        docker: DockerArgs,
    }

    fn config(words: &[&str]) -> Result<DockerConfig, String> {
        let words = ["agent", "--docker-host", "tcp://build"].iter().chain(words);
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        line.docker.config().map_err(|error| error.to_string())
    }

    #[test]
    fn periods_have_bounds() {
        let config_of = config(&["--docker-deadline", "100ms", "--docker-resubscribe", "1h"]).unwrap();
        assert_eq!((config_of.deadline, config_of.resubscribe), (Duration::from_millis(100), Duration::from_hours(1)));
        assert!(config(&["--docker-deadline", "99ms"]).unwrap_err().contains("100ms to 5m"));
        assert!(config(&["--docker-resubscribe", "500ms"]).unwrap_err().contains("1s to 1h"));
    }

    #[test]
    fn half_a_pair_is_refused() {
        assert!(config(&["--docker-tls-ca", "a", "--docker-tls-key", "b"]).unwrap_err().contains("--docker-tls-cert"));
        let pair = ["--docker-tls-cert", "a", "--docker-tls-key", "b"];
        assert!(config(&pair).unwrap_err().contains("--docker-tls-ca"));
    }

    #[test]
    fn the_environment_of_the_docker_command_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let environment = |verify: &'static str| {
            let path = path.clone();
            move |name: &str| match name {
                "DOCKER_TLS_VERIFY" => Some(verify.into()),
                "DOCKER_CERT_PATH" => Some(path.clone().into_os_string()),
                _ => None,
            }
        };
        assert_eq!(from_environment(environment("")).unwrap(), None);
        assert_eq!(from_environment(|_| None).unwrap(), None);
        let ca = path.join("ca.pem");
        assert_eq!(from_environment(environment("1")).unwrap(), Some(TlsFiles { ca: ca.clone(), client: None }));
        std::fs::write(path.join("cert.pem"), "").unwrap();
        let client = Some((path.join("cert.pem"), path.join("key.pem")));
        assert_eq!(from_environment(environment("1")).unwrap(), Some(TlsFiles { ca, client }));
        let home = |name: &str| (name != "DOCKER_CERT_PATH").then(|| "/root".into());
        assert_eq!(from_environment(home).unwrap().unwrap().ca, Path::new("/root/.docker/ca.pem"));
    }
}
