//! What `/api/v1` answers, as `docs/api.md` has it: the admin server writes it, `tail` and `top` read it.
//!
//! Within a version fields may be added; none is taken away, and none changes its meaning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where the agent is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not all hooks are in place.
    #[default]
    Starting,
    /// Output is captured.
    Capturing,
    /// The end has been asked for: what was captured is delivered, nothing more is captured.
    Draining,
}

impl State {
    /// As it is in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Capturing => "capturing",
            Self::Draining => "draining",
        }
    }
}

/// `GET /api/v1/agent`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Agent {
    /// Of the binary.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Name of the machine.
    pub host: String,
    /// Seconds since it began.
    pub uptime_seconds: f64,
    /// Where it is in its life.
    pub state: State,
    /// Containers that are captured, and that could be.
    pub sessions: Sessions,
    /// The ring buffer between the kernel and the agent.
    pub ring: Ring,
    /// The Docker socket.
    pub docker: Docker,
    /// Those who look.
    pub live: Live,
}

/// Capture sessions.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Sessions {
    /// Containers whose output is captured.
    pub active: u64,
    /// How many may be at once.
    pub capacity: u64,
    /// Running ones that wait for a place.
    pub waiting: u64,
    /// Those that found no place when they were first seen.
    pub refused: u64,
    /// Sessions whose counters in the kernel and in the agent differed.
    pub reconcile_failures: u64,
    /// Runs of the eBPF programs that the kernel skipped.
    pub missed_runs: u64,
}

/// The ring buffer, in bytes.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Ring {
    /// How much it may hold.
    pub size: u64,
    /// What waits to be read.
    pub used: u64,
    /// The most that ever waited.
    pub high_water: u64,
}

/// The Docker socket, which is asked for names and labels only.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Docker {
    /// Whether the engine answers.
    pub up: bool,
    /// Connections that are open.
    pub open_connections: u64,
    /// Times that it answered again after it had not.
    pub reconnects: u64,
    /// How long the last call took.
    pub last_request_seconds: f64,
    /// Age of the event subscription; `null` without one.
    pub subscription_age_seconds: Option<f64>,
    /// Failed calls by kind; a kind that never was is not there.
    pub errors: BTreeMap<String, u64>,
}

/// Those who look at records while they pass.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Live {
    /// Streams that are open.
    pub viewers: u64,
    /// How many may be.
    pub viewers_max: u64,
    /// Streams that found no place.
    pub refused: u64,
    /// Records that were sent to them.
    pub sent: u64,
    /// Records that they were too slow for.
    pub dropped: u64,
    /// Bytes of recent records that are kept for `since_start`; 0 for none.
    pub recent_bytes: u64,
}

/// `GET /api/v1/containers`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Containers {
    /// When it was counted, in seconds since the Unix epoch.
    pub at: f64,
    /// Time between two points of a history, in seconds.
    pub interval_seconds: f64,
    /// Those that are captured, and those that ended within `admin.metrics_grace`.
    pub containers: Vec<Container>,
}

/// A container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Empty until the engine told it.
    pub name: String,
    /// As the user named it; `null` where the engine has not said.
    pub image: Option<String>,
    /// As set on the container.
    pub labels: BTreeMap<String, String>,
    /// Whether it is captured; one that ended is not.
    pub running: bool,
    /// Of the last interval.
    pub rate: Rate,
    /// Sums of both streams.
    pub totals: Totals,
    /// By name of the stream.
    pub streams: BTreeMap<String, Stream>,
    /// What its capture session is doing.
    pub session: Session,
    /// Captured bytes per second, the latest last; only if asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<u64>,
}

impl Container {
    /// Its name, or the beginning of its id while there is none.
    #[must_use]
    pub fn shown_name(&self) -> &str {
        if self.name.is_empty() { self.id.get(..12).unwrap_or(&self.id) } else { &self.name }
    }
}

/// Per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Captured bytes.
    pub bytes: f64,
    /// Delivered lines.
    pub lines: f64,
    /// Bytes that were lost or dropped.
    pub lost: f64,
}

/// Bytes since the container was first captured, newlines included, and lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// What its calls returned as written.
    pub written: u64,
    /// What the kernel side put into the ring buffer.
    pub captured: u64,
    /// What every sink has that was to have it.
    pub delivered: u64,
    /// What no sink was to have.
    pub filtered: u64,
    /// What the kernel side did not put into the ring buffer.
    pub lost: u64,
    /// What was captured and did not reach every sink that was to have it.
    pub dropped: u64,
    /// Lines of what was delivered.
    pub lines: u64,
}

/// One stream of a container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Stream {
    /// Its sums.
    #[serde(flatten)]
    pub totals: Totals,
    /// Lost bytes by reason; a reason that never was is not there.
    pub lost_by_reason: BTreeMap<String, u64>,
    /// Dropped bytes by reason; a reason that never was is not there.
    pub dropped_by_reason: BTreeMap<String, u64>,
}

/// A capture session.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Session {
    /// Since it was opened: at the first sight of the container, or at the last seal.
    pub age_seconds: f64,
    /// Sessions of the container before it that were sealed and reconciled.
    pub rotations: u64,
    /// What went wrong, by kind; a kind that never was is not there.
    pub errors: BTreeMap<String, u64>,
}

/// `GET /api/v1/sinks`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sinks {
    /// In the order of their names.
    pub sinks: Vec<Sink>,
}

/// A sink.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sink {
    /// As configured.
    pub name: String,
    /// `up`, `degraded` (has begun to fail), `down` (for more than ten seconds, or for good).
    pub state: String,
    /// Since when, in seconds since the Unix epoch; 0 for since the start.
    pub since: u64,
    /// What it said last when it failed.
    pub last_error: Option<String>,
    /// When that was, in seconds since the Unix epoch.
    pub last_error_at: Option<u64>,
    /// What waits for it.
    pub queue: Queue,
    /// Records that came for it.
    pub submitted: u64,
    /// Records that were not meant for it.
    pub filtered: u64,
    /// Records that its destination took.
    pub delivered: u64,
    /// Bytes of output that its destination took.
    pub delivered_bytes: u64,
    /// Records that it was to have and will not, by reason; a reason that never was is not there.
    pub dropped: BTreeMap<String, u64>,
    /// Requests that were made again.
    pub retries: u64,
    /// How long its requests take.
    pub requests: Requests,
}

/// A sink's buffer.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Queue {
    /// What it holds.
    pub bytes: u64,
    /// What it may hold.
    pub capacity_bytes: u64,
    /// Records, marks of gaps included.
    pub records: u64,
    /// Age of the oldest one.
    pub lag_seconds: f64,
}

/// Durations of requests, failed ones included.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Requests {
    /// How many there were.
    pub count: u64,
    /// Half of them took no longer: the upper bound of a bucket; `null` without any, or beyond the last bucket.
    pub p50_seconds: Option<f64>,
    /// 95 of 100 took no longer.
    pub p95_seconds: Option<f64>,
}

/// The event `hello` that a stream begins with.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Hello {
    /// Of the agent.
    pub version: String,
    /// Name of the machine.
    pub host: String,
    /// Whether what came before follows, as `since_start` asks for: not where the agent keeps nothing of it.
    pub since_start: bool,
}

/// The event `dropped`: records are missing at this place of the stream, because the viewer was too slow.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Dropped {
    /// How many. Where the agent had no time to look at them, those that the filter would have left out are counted too.
    pub records: u64,
}

/// What is answered in place of anything else, with a status of 400 and more.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Problem {
    /// What is wrong and what to do, in one sentence.
    pub error: String,
}
