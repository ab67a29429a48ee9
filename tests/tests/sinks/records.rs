//! Records for sinks, made without a kernel.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use capture_agent::config::SinkContext;
use capture_agent::containers::directory::Metadata;
use capture_agent::pipeline::record::{Account, Content, Origin, Record};
use capture_agent::sinks::delivery::Sink;
use capture_agent::socket::SocketHealth;
use capture_common::Stream;

/// One container that writes lines.
pub struct Source {
    origin: Arc<Origin>,
    /// Time of the next line, in ns since the Unix epoch.
    clock: i64,
    position: u64,
}

impl Source {
    /// A container of this name, of image `nginx:1.25`, in the compose project `shop`.
    pub fn new(name: &str) -> Self {
        Self::at(name, now())
    }

    /// The same, whose lines begin at a time of long ago or of days to come.
    pub fn at(name: &str, clock: i64) -> Self {
        let id = format!("{name:0>64}");
        let labels = [("com.docker.compose.project", "shop"), ("com.docker.compose.service", name), ("team", "a b")];
        let metadata = Metadata {
            id: id.clone(),
            name: name.to_owned(),
            image: "registry.example:5000/nginx:1.25".to_owned(),
            labels: labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into_iter()
                .collect::<BTreeMap<_, _>>(),
        };
        let origin = Origin::new(id.into(), Some(Arc::new(metadata)), Arc::new(Account::default()));
        Self { origin: Arc::new(origin), clock, position: 0 }
    }

    /// A line on stdout, a microsecond after the one before.
    pub fn line(&mut self, message: impl AsRef<[u8]>) -> Record {
        self.clock += 1_000;
        self.same_write(message)
    }

    /// A line that the same write brought as the one before.
    pub fn same_write(&mut self, message: impl AsRef<[u8]>) -> Record {
        let message = message.as_ref().to_vec();
        let length = message.len() as u64 + 1;
        self.record(length, Content::Line { message: message.into(), newline: true, partial: false, omitted: 0 })
    }

    /// The mark of missing bytes.
    pub fn gap(&mut self, bytes: u64) -> Record {
        self.record(bytes, Content::Gap { bytes, reason: Some("ring_full") })
    }

    /// `count` lines that begin with the container's name and a number.
    pub fn lines(&mut self, count: usize) -> Vec<Record> {
        (0..count).map(|number| self.line(format!("{} {number}", self.origin.name()))).collect()
    }

    /// 64 hexadecimal digits, or what stands for them here.
    pub fn id(&self) -> &str {
        &self.origin.container_id
    }

    fn record(&mut self, length: u64, content: Content) -> Record {
        let position = self.position;
        self.position += length;
        Record {
            origin: Arc::clone(&self.origin),
            stream: Stream::Stdout,
            timestamp: self.clock,
            completed: 0,
            position,
            content,
            attributes: None,
        }
    }
}

/// ns since the Unix epoch.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// What a sink is told beside its configuration.
pub fn context(name: &str) -> SinkContext {
    SinkContext { name: name.parse().expect("a sink's name"), host: "host-1".to_owned() }
}

/// How the connections of a sink that has some fare.
pub trait Connected {
    /// The same state as the metrics read.
    fn health(&self) -> Arc<SocketHealth>;
}

impl<S: Sink> Connected for S {
    fn health(&self) -> Arc<SocketHealth> {
        self.connections().expect("a sink over the network")
    }
}
