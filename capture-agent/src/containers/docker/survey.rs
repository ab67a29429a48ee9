//! One look at the engine: what it is, and what it says of the containers that run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder};
use bollard::{API_DEFAULT_VERSION, Docker};

use super::config::{DockerConfig, DockerError};
use super::failure::Failure;
use super::from_inspection;
use super::transport::Line;
use crate::containers::directory::Metadata;
use crate::socket::FailureKind;

/// What an engine says of itself and of its containers.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Where it was asked.
    pub endpoint: String,
    /// Its version, such as `20.10.24`.
    pub version: String,
    /// Version of the API that it was asked in.
    pub api: String,
    /// Log driver of containers that name none; `None` where it does not say.
    pub log_driver: Option<String>,
    /// How long one small call took, with its connection.
    pub latency: Duration,
    /// Its clock less ours, in milliseconds; `None` where it does not say.
    pub clock_ahead_ms: Option<i64>,
    /// Containers that run.
    pub containers: Vec<RunningContainer>,
}

/// A container that runs.
#[derive(Clone, Debug)]
pub struct RunningContainer {
    /// Id, name, image and labels.
    pub metadata: Metadata,
    /// Where its output goes, such as `json-file`.
    pub log_driver: String,
    /// Options of the log driver.
    pub log_options: BTreeMap<String, String>,
    /// The file of the `json-file` driver, as the engine sees it.
    pub log_path: Option<PathBuf>,
    /// Whether it has a terminal.
    pub terminal: bool,
}

/// Why there is no survey.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// The configuration is no good.
    #[error(transparent)]
    Config(#[from] DockerError),
    /// The engine does not answer.
    #[error("the Docker engine at {endpoint} does not answer: {cause}")]
    Engine {
        /// Where it was asked.
        endpoint: String,
        /// What went wrong.
        kind: FailureKind,
        /// The same in words.
        cause: String,
    },
}

impl DockerConfig {
    /// Asks the engine once, each call within the deadline.
    ///
    /// # Errors
    ///
    /// The configuration is no good, or the engine does not answer.
    pub async fn survey(&self) -> Result<Survey, SurveyError> {
        let connector = Arc::new(self.connector()?);
        let endpoint = connector.endpoint.to_string();
        ask(&Line::new(&connector), &endpoint).await.map_err(|failure| SurveyError::Engine {
            endpoint,
            kind: failure.kind,
            cause: failure.to_string(),
        })
    }

    /// Whether a container runs; `false` for one that the engine does not know (any more).
    ///
    /// # Errors
    ///
    /// As [`survey`](Self::survey).
    pub async fn is_running(&self, id: &str) -> Result<bool, SurveyError> {
        let connector = Arc::new(self.connector()?);
        let endpoint = connector.endpoint.to_string();
        let line = Line::new(&connector);
        let ask = async {
            let docker = line.docker(API_DEFAULT_VERSION)?;
            let docker = line.call(docker.negotiate_version()).await?;
            Ok(inspect(&docker, &line, id).await?.is_some_and(|answer| is_running(&answer)))
        };
        ask.await.map_err(|failure: Failure| SurveyError::Engine {
            endpoint,
            kind: failure.kind,
            cause: failure.to_string(),
        })
    }
}

async fn ask(line: &Line, endpoint: &str) -> Result<Survey, Failure> {
    let docker = line.docker(API_DEFAULT_VERSION)?;
    let docker = line.call(docker.negotiate_version()).await?;
    let asked = Instant::now();
    let version = line.call(docker.version()).await?;
    let latency = asked.elapsed();
    // What it says there differs between engines, and nothing depends on it.
    let info = line.call(docker.info()).await.unwrap_or_default();
    let clock_ahead_ms = info.system_time.as_deref().and_then(|time| time.parse::<jiff::Timestamp>().ok());
    let clock_ahead_ms = clock_ahead_ms.map(|time| time.as_millisecond() - jiff::Timestamp::now().as_millisecond());

    let running = ListContainersOptionsBuilder::new().build();
    let mut containers = Vec::new();
    for summary in line.call(docker.list_containers(Some(running))).await? {
        let Some(id) = summary.id else { continue };
        // It may have ended meanwhile.
        let answer = inspect(&docker, line, &id).await?.filter(is_running);
        containers.extend(answer.and_then(running_container));
    }
    containers.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    Ok(Survey {
        endpoint: endpoint.to_owned(),
        version: version.version.unwrap_or_default(),
        api: docker.client_version().to_string(),
        log_driver: info.logging_driver,
        latency,
        clock_ahead_ms,
        containers,
    })
}

/// `None` for a container that the engine does not know.
async fn inspect(docker: &Docker, line: &Line, id: &str) -> Result<Option<ContainerInspectResponse>, Failure> {
    match line.call(docker.inspect_container(id, None::<InspectContainerOptions>)).await {
        Ok(answer) => Ok(Some(answer)),
        Err(Failure { status: Some(404), .. }) => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn is_running(answer: &ContainerInspectResponse) -> bool {
    answer.state.as_ref().and_then(|state| state.running) == Some(true)
}

fn running_container(answer: ContainerInspectResponse) -> Option<RunningContainer> {
    let log = answer.host_config.as_ref().and_then(|host| host.log_config.clone()).unwrap_or_default();
    Some(RunningContainer {
        log_driver: log.typ.unwrap_or_default(),
        log_options: log.config.unwrap_or_default().into_iter().collect(),
        log_path: answer.log_path.clone().filter(|path| !path.is_empty()).map(PathBuf::from),
        terminal: answer.config.as_ref().and_then(|config| config.tty) == Some(true),
        metadata: from_inspection(answer)?,
    })
}
