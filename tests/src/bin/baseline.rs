//! `baseline`: follows containers the old way, one log stream of the Docker API each. For comparison only.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use bollard::{
    Docker,
    container::LogOutput,
    query_parameters::{EventsOptionsBuilder, ListContainersOptions, LogsOptionsBuilder},
};
use clap::Parser;
use futures_util::StreamExt;
use tokio::{
    fs::{self, File},
    io::{AsyncWriteExt, BufWriter},
    runtime::Handle,
    sync::Mutex,
    time::{sleep, timeout},
};

/// Follows every container that starts, and writes its raw bytes into files.
#[derive(Parser)]
struct Arguments {
    /// Address of the engine
    #[arg(long, default_value = "unix:///var/run/docker.sock")]
    docker_host: String,
    /// Where to write; knows `{container_name}`, `{container_id}` and `{stream}`
    #[arg(long)]
    file_path: String,
    /// Cancel each stream after so long and open it anew where it was; the containers that run already are followed too
    #[arg(long, value_name = "SECONDS")]
    rotation_seconds: Option<u64>,
}

/// Seconds that a stream that is opened anew repeats: a line is read a little after the time that it is stamped with.
const REPEATED: i64 = 2;

/// What it tells of itself.
#[derive(Default)]
struct Figures {
    streams: AtomicI64,
    rotations: AtomicU64,
}

/// Pieces of a stream that are written before the file is flushed.
const AT_ONCE: usize = 1024;
/// Bytes of a file that are written at once.
const BUFFER: usize = 64 << 10;

/// One file.
type Output = BufWriter<File>;

/// Files that are open now, so that containers that share one by the template share its descriptor too.
type Files = Arc<Mutex<HashMap<PathBuf, Weak<Mutex<Output>>>>>;

/// Who follows.
#[derive(Clone)]
struct Follower {
    files: Files,
    docker: Docker,
    figures: Arc<Figures>,
    rotation: Option<Duration>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let socket = arguments.docker_host.trim_start_matches("unix://");
    let docker = Docker::connect_with_unix(socket, 120, bollard::API_DEFAULT_VERSION)?.negotiate_version().await?;
    let figures = Arc::<Figures>::default();
    let rotation = arguments.rotation_seconds.map(Duration::from_secs);
    let follower =
        Follower { files: Files::default(), docker: docker.clone(), figures: Arc::clone(&figures), rotation };
    let template = |name: &str, id: &str| {
        arguments.file_path.replace("{container_name}", name.trim_start_matches('/')).replace("{container_id}", id)
    };
    if rotation.is_some() {
        for running in docker.list_containers(None::<ListContainersOptions>).await? {
            let name = running.names.and_then(|names| names.into_iter().next()).unwrap_or_default();
            let Some(id) = running.id else { continue };
            let path = template(&name, &id);
            tokio::spawn(follower.clone().follow(id, path, now()));
        }
    }
    // The request goes out with the first poll; what starts before it is not this program's to have.
    println!("following");
    if rotation.is_some() {
        tokio::spawn(tell(figures));
    }
    loop {
        let filters = HashMap::from([("type", vec!["container"]), ("event", vec!["start"])]);
        let mut events = docker.events(Some(EventsOptionsBuilder::default().filters(&filters).build()));
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                // A daemon that is restarted; without rotation nobody restarts it.
                Err(_) if rotation.is_some() => break,
                Err(error) => return Err(error).context("the event stream broke"),
            };
            let Some(actor) = event.actor else { continue };
            let Some(id) = actor.id else { continue };
            let name = actor.attributes.and_then(|mut labels| labels.remove("name")).unwrap_or_default();
            let path = template(&name, &id);
            let since = if rotation.is_some() { event.time.unwrap_or_default() } else { 0 };
            tokio::spawn(follower.clone().follow(id, path, since));
        }
        if rotation.is_none() {
            return Ok(());
        }
        sleep(Duration::from_secs(1)).await;
    }
}

fn now() -> i64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_epoch.map_or(0, |time| time.as_secs().cast_signed())
}

/// Prints the figures each second.
async fn tell(figures: Arc<Figures>) {
    loop {
        let tasks = Handle::current().metrics().num_alive_tasks();
        let (streams, rotations) = (figures.streams.load(Ordering::Relaxed), figures.rotations.load(Ordering::Relaxed));
        println!("tasks={tasks} streams={streams} rotations={rotations}");
        sleep(Duration::from_secs(1)).await;
    }
}

impl Follower {
    /// Copies one container's stream until it ends; one that cannot be followed is what the comparison shows.
    async fn follow(self, id: String, template: String, since: i64) {
        self.figures.streams.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.rotate(&id, &template, since).await {
            eprintln!("baseline: {id:.12}: {error:#}");
        }
        self.figures.streams.fetch_sub(1, Ordering::Relaxed);
    }

    async fn rotate(&self, id: &str, template: &str, since: i64) -> Result<()> {
        let mut copy = Copy {
            template,
            files: HashMap::new(),
            open: &self.files,
            since,
            last: HashMap::new(),
            dated: self.rotation.is_some(),
        };
        let Some(rotation) = self.rotation else { return copy.copy(&self.docker, id).await };
        loop {
            // Dropping the stream in the middle of a read is what a rotation of a log stream is.
            match timeout(rotation, copy.copy(&self.docker, id)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => {
                    let inspected = self.docker.inspect_container(id, None).await;
                    if inspected
                        .is_err_and(|error| matches!(error, bollard::errors::Error::DockerResponseServerError { .. }))
                    {
                        return Err(error);
                    }
                    sleep(Duration::from_secs(1)).await;
                }
                Err(_) => {
                    self.figures.rotations.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// One container's files, and how far they have come.
struct Copy<'a> {
    template: &'a str,
    files: HashMap<&'static str, Arc<Mutex<Output>>>,
    open: &'a Files,
    /// Where a stream that is opened anew begins, in whole seconds, as this client's API has them.
    since: i64,
    /// Time stamp of each stream's last line, in the API's own form: what is repeated is not written twice.
    last: HashMap<&'static str, String>,
    /// Whether time stamps are asked for.
    dated: bool,
}

impl Copy<'_> {
    async fn copy(&mut self, docker: &Docker, id: &str) -> Result<()> {
        let since = i32::try_from(self.since).unwrap_or_default();
        let options = LogsOptionsBuilder::default().follow(true).stdout(true).stderr(true);
        // What has come by now is written at once, as any collector that buffers does.
        let mut output =
            docker.logs(id, Some(options.timestamps(self.dated).since(since).build())).ready_chunks(AT_ONCE);
        let before = self.last.clone();
        while let Some(pieces) = output.next().await {
            for piece in pieces {
                if piece.is_err() {
                    self.flush().await?;
                }
                let (stream, bytes) = match piece? {
                    LogOutput::StdErr { message } => ("stderr", message),
                    LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message } => {
                        ("stdout", message)
                    }
                };
                if !self.dated {
                    self.write(stream, &bytes).await?;
                    continue;
                }
                let text = bytes.iter().position(|&byte| byte == b' ').map(|end| bytes.split_at(end));
                let (time, line) = text.context("a line without a time stamp")?;
                let time = std::str::from_utf8(time).context("a time stamp that is no text")?;
                // Fixed width in UTC, so that they compare as text.
                if before.get(stream).is_none_or(|last| time > last.as_str()) {
                    self.write(stream, &line[1..]).await?;
                    time.clone_into(self.last.entry(stream).or_default());
                    self.since = now() - REPEATED;
                }
            }
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        for file in self.files.values() {
            file.lock().await.flush().await?;
        }
        Ok(())
    }

    async fn write(&mut self, stream: &'static str, bytes: &[u8]) -> Result<()> {
        if !self.files.contains_key(stream) {
            let path = PathBuf::from(self.template.replace("{stream}", stream));
            self.files.insert(stream, open(self.open, path).await?);
        }
        let mut file = self.files[stream].lock().await;
        file.write_all(bytes).await?;
        Ok(())
    }
}

/// The open file of a path, opened if it is not.
async fn open(open: &Files, path: PathBuf) -> Result<Arc<Mutex<Output>>> {
    let mut open = open.lock().await;
    if let Some(file) = open.get(&path).and_then(Weak::upgrade) {
        return Ok(file);
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).await?;
    }
    let file = fs::OpenOptions::new().create(true).append(true).open(&path).await?;
    let file = Arc::new(Mutex::new(BufWriter::with_capacity(BUFFER, file)));
    open.retain(|_, file| file.strong_count() > 0);
    open.insert(path, Arc::downgrade(&file));
    Ok(file)
}
