//! Where the Docker engine is, as the command line and Docker's own environment say it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::settings::set;
use crate::config::units::Period;
use crate::config::{DockerSection, Problem};
use crate::containers::docker::TlsFiles;

/// The engine that is asked for names and labels.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Docker engine")]
pub struct DockerArgs {
    /// Where the Docker engine listens: `unix:///path` or `tcp://host:port`. It is asked for names and labels only
    /// [default: `unix:///var/run/docker.sock`]
    ///
    /// Without it, `DOCKER_HOST` counts as for the docker command.
    #[arg(long = "docker-host", value_name = "ENDPOINT", env = "CAPTURE_AGENT_DOCKER_HOST")]
    host: Option<String>,

    /// Longest time that a call to the engine may take, from 100ms to 5m [default: 5s]
    #[arg(long = "docker-deadline", value_name = "TIME", env = "CAPTURE_AGENT_DOCKER_DEADLINE",
          value_parser = Period::between(Duration::from_millis(100), Duration::from_mins(5)))]
    deadline: Option<Period>,

    /// How often the engine's events are subscribed to anew and all containers are listed, from 1s to 1h [default: 30s]
    #[arg(long = "docker-resubscribe", value_name = "TIME", env = "CAPTURE_AGENT_DOCKER_RESUBSCRIBE",
          value_parser = Period::between(Duration::from_secs(1), Duration::from_hours(1)))]
    resubscribe: Option<Period>,

    /// Certificates (PEM) of those who may sign the engine's; with it, tcp:// means TLS
    ///
    /// Without any of these three, `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` count as for the docker command.
    #[arg(long = "docker-tls-ca", value_name = "FILE", env = "CAPTURE_AGENT_DOCKER_TLS_CA")]
    tls_ca: Option<PathBuf>,

    /// The agent's own certificate with its chain (PEM), where the engine asks for one
    #[arg(long = "docker-tls-cert", value_name = "FILE", env = "CAPTURE_AGENT_DOCKER_TLS_CERT")]
    tls_cert: Option<PathBuf>,

    /// Key of that certificate (PEM)
    #[arg(long = "docker-tls-key", value_name = "FILE", env = "CAPTURE_AGENT_DOCKER_TLS_KEY")]
    tls_key: Option<PathBuf>,
}

impl DockerArgs {
    /// Lays the arguments over what the file says; `variable` is the environment.
    ///
    /// # Errors
    ///
    /// The environment asks for TLS and does not say where the certificates are.
    pub fn lay_over(
        &self,
        section: &mut DockerSection,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<(), Problem> {
        // An empty DOCKER_HOST is none.
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let environment = || variable("DOCKER_HOST").map(|host| host.to_string_lossy().into_owned());
        set(&mut section.host, self.host.clone().filter(|host| !host.is_empty()).or_else(environment).as_ref());
        set(&mut section.deadline, self.deadline.as_ref());
        set(&mut section.resubscribe, self.resubscribe.as_ref());

        let is_unix = section.host.starts_with('/') || section.host.starts_with("unix:");
        let given = [&self.tls_ca, &self.tls_cert, &self.tls_key];
        let fields = [&mut section.tls_ca, &mut section.tls_cert, &mut section.tls_key];
        // As for the docker command, the environment says nothing of Unix sockets.
        if given.iter().all(|given| given.is_none()) && !is_unix {
            if let Some(TlsFiles { ca, client }) = from_environment(variable)? {
                let (certificate, key) = client.unzip();
                let [to_ca, to_certificate, to_key] = fields;
                (*to_ca, *to_certificate, *to_key) = (Some(ca), certificate, key);
            }
        } else {
            for (field, given) in fields.into_iter().zip(given).filter(|(_, given)| given.is_some()) {
                field.clone_from(given);
            }
        }
        Ok(())
    }
}

/// The files that the docker command would take: `ca.pem`, `cert.pem` and `key.pem` of one directory.
fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<TlsFiles>, Problem> {
    let variable = |name| variable(name).filter(|value| !value.is_empty());
    if variable("DOCKER_TLS_VERIFY").is_none() {
        return Ok(None);
    }
    let directory = match (variable("DOCKER_CERT_PATH"), variable("HOME")) {
        (Some(directory), _) => PathBuf::from(directory),
        (None, Some(home)) => Path::new(&home).join(".docker"),
        (None, None) => {
            let message = "DOCKER_TLS_VERIFY is set, but there is no directory with certificates: neither \
                           DOCKER_CERT_PATH nor HOME is set";
            return Err(Problem::of("", message));
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

    use crate::containers::docker::DockerConfig;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        docker: DockerArgs,
    }

    fn laid_over(
        words: &[&str],
        section: DockerSection,
        environment: &[(&str, &str)],
    ) -> Result<DockerSection, String> {
        let words = ["agent"].iter().chain(words);
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        let mut section = section;
        let variable = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
        line.docker.lay_over(&mut section, variable).map_err(|problem| problem.to_string())?;
        let mut problems = Vec::new();
        section.problems(&mut problems);
        problems.first().map_or(Ok(section), |problem| Err(problem.to_string()))
    }

    fn config(words: &[&str]) -> Result<DockerConfig, String> {
        let words = [&["--docker-host", "tcp://build"], words].concat();
        laid_over(&words, DockerSection::default(), &[]).map(|section| section.client())
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
    fn the_agents_own_words_win_over_those_for_the_docker_command_and_both_over_the_file() {
        let file = || DockerSection { host: "tcp://file".to_owned(), ..DockerSection::default() };
        let host = |words: &[&str], environment: &[(&str, &str)]| laid_over(words, file(), environment).unwrap().host;
        assert_eq!(host(&[], &[]), "tcp://file");
        assert_eq!(host(&[], &[("DOCKER_HOST", "")]), "tcp://file");
        assert_eq!(host(&[], &[("DOCKER_HOST", "tcp://command")]), "tcp://command");
        assert_eq!(host(&["--docker-host", "tcp://own"], &[("DOCKER_HOST", "tcp://command")]), "tcp://own");
        assert_eq!(host(&["--docker-host", ""], &[]), "tcp://file");
    }

    #[test]
    fn files_for_tls_are_those_of_the_flags_else_of_the_environment_else_of_the_file() {
        let section = || DockerSection {
            host: "tcp://build".to_owned(),
            tls_ca: Some("/file/ca".into()),
            ..DockerSection::default()
        };
        let environment = [("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", "/environment")];
        let ca = |words: &[&str], section, environment: &[(&str, &str)]| {
            laid_over(words, section, environment).unwrap().tls_ca.unwrap()
        };
        assert_eq!(ca(&[], section(), &[]), Path::new("/file/ca"));
        assert_eq!(ca(&[], section(), &environment), Path::new("/environment/ca.pem"));
        assert_eq!(ca(&["--docker-tls-ca", "/flag/ca"], section(), &environment), Path::new("/flag/ca"));
        let unix = DockerSection { tls_ca: None, ..DockerSection::default() };
        assert_eq!(laid_over(&[], unix, &environment).unwrap().tls_ca, None);
        assert_eq!(
            laid_over(&[], section(), &[("DOCKER_TLS_VERIFY", "1")]).unwrap_err(),
            "DOCKER_TLS_VERIFY is set, but there is no directory with certificates: neither DOCKER_CERT_PATH nor HOME \
             is set"
        );
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
