//! The Docker engine: names, images and labels, never a log stream.
//!
//! Two connections at most: one follows events, one carries everything else, a request at a time. The engine may be
//! missing, refuse, hang or come back at any moment; that costs names, and nothing waits for it.

mod backoff;
mod config;
mod connect;
mod endpoint;
mod events;
mod failure;
mod following;
mod queue;
mod survey;
mod tls;
mod transport;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bollard::models::{ContainerInspectResponse, ContainerSummary};
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder};
use bollard::{API_DEFAULT_VERSION, Docker};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::backoff::Backoff;
pub use self::config::{DockerConfig, DockerError};
use self::connect::Connector;
use self::events::{Change, Replay, Subscription};
use self::failure::Failure;
pub use self::following::Following;
use self::queue::{Queue, Roster};
pub use self::survey::{RunningContainer, Survey, SurveyError};
pub use self::tls::{TlsError, TlsFiles};
use self::transport::Line;
use super::directory::{Directory, Metadata};
use crate::socket::{FailureKind, SocketHealth};

/// Keeps the [`Directory`] in step with the engine.
#[derive(Debug)]
pub struct DockerClient {
    connector: Arc<Connector>,
    resubscribe: Duration,
    directory: Arc<Directory>,
    wanted: mpsc::Receiver<String>,
    health: Arc<SocketHealth>,
    state: State,
    /// Kinds of failure that were logged since the engine answered last.
    told: Vec<FailureKind>,
    replay: Replay,
    queue: Queue,
    roster: Roster,
    inspecting: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Up { since: Instant },
    Down { was_up: bool },
}

/// Both connections to an engine that answers.
struct Link {
    docker: Docker,
    calls: Line,
    events: Subscription,
}

type Inspection<'a> = Pin<Box<dyn Future<Output = Result<ContainerInspectResponse, Failure>> + Send + 'a>>;

impl DockerClient {
    fn new(
        connector: Connector,
        resubscribe: Duration,
        directory: Arc<Directory>,
        wanted: mpsc::Receiver<String>,
    ) -> Self {
        Self {
            health: Arc::clone(&connector.health),
            connector: Arc::new(connector),
            resubscribe,
            directory,
            wanted,
            state: State::New,
            told: Vec::new(),
            replay: Replay::default(),
            queue: Queue::default(),
            roster: Roster::default(),
            inspecting: None,
        }
    }

    /// State of the connections, for metrics.
    #[must_use]
    pub fn health(&self) -> Arc<SocketHealth> {
        Arc::clone(&self.health)
    }

    /// Runs until `shutdown`. Ends within the tick in which it is asked to, whatever the engine does.
    async fn run(mut self, shutdown: CancellationToken) {
        let endless = async {
            let mut backoff = Backoff::new();
            loop {
                let failure = self.serve().await;
                if matches!(self.state, State::Up { since } if since.elapsed() > backoff::LONGEST) {
                    backoff.reset();
                }
                self.went_down(&failure);
                tokio::time::sleep(backoff.next()).await;
                self.expire();
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = endless => {}
        }
        self.health.set_up(false);
    }

    /// Serves until something fails. Dropping the future closes both connections.
    async fn serve(&mut self) -> Failure {
        match self.connect().await {
            Ok(link) => match self.follow(link).await {
                Ok(never) => match never {},
                Err(failure) => failure,
            },
            Err(failure) => failure,
        }
    }

    /// Subscribes first and lists then, so that a container is in one or the other.
    async fn connect(&mut self) -> Result<Link, Failure> {
        if let Some(tls) = &self.connector.tls {
            tls.reload()?;
        }
        let calls = Line::new(&self.connector);
        let docker = calls.docker(API_DEFAULT_VERSION)?;
        let docker = calls.call(docker.negotiate_version()).await?;
        let events = self.subscribe(&docker).await?;
        self.list(&docker, &calls).await?;
        self.went_up(&docker);
        Ok(Link { docker, calls, events })
    }

    async fn follow(&mut self, link: Link) -> Result<std::convert::Infallible, Failure> {
        let Link { docker, calls, mut events } = link;
        let (docker, calls) = (&docker, &calls);
        let mut inspection: Option<Inspection<'_>> = None;
        let mut reopen = Box::pin(tokio::time::sleep(self.resubscribe));
        loop {
            if inspection.is_none() {
                if reopen.is_elapsed() {
                    // The old one goes first: at no time are there two. No event is handled between the new one and the
                    // list, which would then be older than what it corrects.
                    drop(events);
                    events = self.subscribe(docker).await?;
                    self.list(docker, calls).await?;
                    reopen = Box::pin(tokio::time::sleep(self.resubscribe));
                }
                if let Some(id) = self.queue.pop() {
                    self.inspecting = Some(id.clone());
                    inspection = Some(Box::pin(async move {
                        calls.call(docker.inspect_container(&id, None::<InspectContainerOptions>)).await
                    }));
                }
            }
            tokio::select! {
                event = events.next() => {
                    let event = event?;
                    if self.replay.is_new(&event)
                        && let Some(change) = Change::from_event(event)
                    {
                        self.apply_change(change);
                    }
                }
                answer = poll_some(inspection.as_mut()) => {
                    inspection = None;
                    self.apply_inspection(answer)?;
                }
                Some(id) = self.wanted.recv(), if self.queue.has_room() => self.want(id),
                () = &mut reopen, if !reopen.is_elapsed() => {}
            }
            self.expire();
        }
    }

    async fn subscribe(&mut self, docker: &Docker) -> Result<Subscription, Failure> {
        let (line, health) = (Line::new(&self.connector), self.health());
        Subscription::open(line, &docker.client_version(), &mut self.replay, health).await
    }

    async fn list(&mut self, docker: &Docker, calls: &Line) -> Result<(), Failure> {
        let everything = ListContainersOptionsBuilder::new().all(true).build();
        let listed = calls.call(docker.list_containers(Some(everything))).await?;
        self.apply_list(listed);
        self.expire();
        Ok(())
    }

    fn want(&mut self, id: String) {
        if id.len() != 64 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            // The engine would look for a name. No container of its has such an id.
            self.unknown(id);
        } else if self.directory.is_awaited(&id) {
            self.queue.push_wanted(id);
        }
    }

    fn unknown(&mut self, id: String) {
        self.directory.insert_unknown(&id);
        self.roster.disappeared(id, Instant::now());
    }

    fn apply_list(&mut self, listed: Vec<ContainerSummary>) {
        let listed: Vec<_> = listed.into_iter().filter_map(from_summary).collect();
        self.roster.reconcile(&listed.iter().map(|metadata| metadata.id.clone()).collect(), Instant::now());
        for mut metadata in listed {
            if metadata.image.starts_with("sha256:") {
                // The list does so once the image's name has moved on to another image. The container's own does not change.
                match self.directory.known(&metadata.id) {
                    Some(known) => metadata.image.clone_from(&known.image),
                    None => self.queue.push_refresh(metadata.id.clone()),
                }
            }
            if self.roster.appeared(&metadata.id) {
                self.directory.insert(metadata);
            }
        }
    }

    fn apply_change(&mut self, change: Change) {
        match change {
            Change::Created(metadata) => {
                if self.roster.appeared(&metadata.id) {
                    self.queue.push_refresh(metadata.id.clone());
                    self.directory.insert(metadata);
                }
            }
            Change::Renamed(id) => self.queue.push_refresh(id),
            Change::Destroyed(id) => self.roster.disappeared(id, Instant::now()),
        }
    }

    /// Fails where the connection is to be given up.
    fn apply_inspection(&mut self, answer: Result<ContainerInspectResponse, Failure>) -> Result<(), Failure> {
        match answer {
            Ok(answer) => {
                if let Some(metadata) = from_inspection(answer) {
                    self.roster.described(&metadata.id, Instant::now());
                    self.directory.insert(metadata);
                }
            }
            Err(Failure { status: Some(404), .. }) => {
                if let Some(id) = self.inspecting.take() {
                    self.unknown(id);
                }
            }
            Err(failure) if failure.status.is_some() => {
                debug!(%failure, id = self.inspecting, "cannot inspect a container");
                self.health.failed(failure.kind);
            }
            Err(failure) => return Err(failure),
        }
        self.retract_inspection();
        Ok(())
    }

    /// Whoever got no answer may ask again; an answer makes this a no-op.
    fn retract_inspection(&mut self) {
        if let Some(id) = self.inspecting.take() {
            self.directory.retract(&id);
        }
    }

    fn expire(&mut self) {
        while let Some(id) = self.roster.expire(Instant::now()) {
            self.directory.forget(&id);
        }
    }

    fn went_up(&mut self, docker: &Docker) {
        let before = matches!(self.state, State::Down { was_up: true } | State::Up { .. });
        if before {
            self.health.reconnected();
        }
        self.state = State::Up { since: Instant::now() };
        self.told.clear();
        self.health.set_up(true);
        info!(endpoint = %self.connector.endpoint, api = %docker.client_version(), "the Docker engine answers");
    }

    fn went_down(&mut self, failure: &Failure) {
        self.health.set_up(false);
        self.health.failed(failure.kind);
        self.retract_inspection();
        for id in self.queue.take_wanted() {
            self.directory.retract(&id);
        }
        // Once for each kind: what is wrong may change while it is being put right.
        if self.told.contains(&failure.kind) {
            debug!(%failure, "the Docker engine still does not answer");
        } else {
            self.told.push(failure.kind);
            warn!(
                endpoint = %self.connector.endpoint, kind = failure.kind.as_str(), cause = %failure,
                "the Docker engine does not answer: capture goes on, names and labels follow when it does",
            );
        }
        self.state = State::Down { was_up: matches!(self.state, State::Up { .. } | State::Down { was_up: true }) };
    }
}

async fn poll_some(inspection: Option<&mut Inspection<'_>>) -> Result<ContainerInspectResponse, Failure> {
    match inspection {
        Some(inspection) => inspection.await,
        None => std::future::pending().await,
    }
}

fn from_summary(summary: ContainerSummary) -> Option<Metadata> {
    let names = summary.names.unwrap_or_default();
    let names = || names.iter().map(|name| name.trim_start_matches('/'));
    // A legacy link adds names such as `other/alias`.
    let name = names().find(|name| !name.contains('/')).or_else(|| names().next()).unwrap_or_default();
    Some(Metadata {
        id: summary.id?,
        name: name.to_owned(),
        image: summary.image.unwrap_or_default(),
        labels: summary.labels.unwrap_or_default().into_iter().collect(),
    })
}

fn from_inspection(answer: ContainerInspectResponse) -> Option<Metadata> {
    let config = answer.config.unwrap_or_default();
    Some(Metadata {
        id: answer.id?,
        name: answer.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        image: config.image.unwrap_or_default(),
        labels: config.labels.unwrap_or_default().into_iter().collect(),
    })
}
