//! Arguments that commands share. What one gives wins over the file; what it does not give is for the file to say.
//!
//! A default stands in the help only: the one that holds is [`Config`]'s, and a test compares them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::docker::DockerArgs;
use crate::config::units::{Period, RingSize, Size};
use crate::config::{
    AdminSection, CaptureSection, Config, ConfigFile, LONGEST_LINE, Problem, RECENT_SIZE, SESSIONS_MAX, SinkConfig,
    Sinks, VIEWERS_MAX,
};
use crate::kernel::{AttachMode, CaptureSide};
use crate::sinks::console::ConsoleConfig;
use crate::sinks::encode::Encoding;
use crate::sinks::file::{FileConfig, PathTemplate};

/// A configuration: its file, and what wins over it.
#[derive(Clone, Debug, Args)]
pub struct SettingsArgs {
    #[command(flatten)]
    file: FileArgs,

    #[command(flatten)]
    capture: CaptureArgs,

    #[command(flatten)]
    sink: SinkArgs,

    #[command(flatten)]
    admin: AdminArgs,

    #[command(flatten)]
    docker: DockerArgs,
}

impl SettingsArgs {
    /// The file that is to be read.
    pub fn file(&self) -> ConfigFile {
        ConfigFile::new(self.file.config.clone(), self.file.allow_env_interpolation)
    }

    /// Lays the arguments over what the file says.
    pub fn lay_over(&self, config: &mut Config) -> Vec<Problem> {
        self.capture.lay_over(&mut config.capture);
        self.sink.lay_over(&mut config.sinks);
        self.admin.lay_over(&mut config.admin);
        self.docker.lay_over(&mut config.docker, |name| std::env::var_os(name)).err().into_iter().collect()
    }
}

/// Where the configuration is.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Configuration")]
struct FileArgs {
    /// Read this file instead of /etc/capture-agent/config.yaml, which need not be there.
    #[arg(long, value_name = "FILE", env = "CAPTURE_AGENT_CONFIG")]
    config: Option<PathBuf>,

    /// Put variables of the environment into the file's values where they say `${VARIABLE}` or `${VARIABLE:-default}`.
    #[arg(long, env = "CAPTURE_AGENT_ALLOW_ENV_INTERPOLATION")]
    allow_env_interpolation: bool,
}

/// How capture is done.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Capture")]
pub struct CaptureArgs {
    /// Which hooks see the writes: auto takes the one that misses nothing [default: auto]
    #[arg(long, value_enum, env = "CAPTURE_AGENT_ATTACH")]
    attach: Option<AttachMode>,

    /// On which side of the pipe output is captured; relay needs the raw hooks [default: write]
    #[arg(long, value_enum, env = "CAPTURE_AGENT_SIDE")]
    side: Option<CaptureSide>,

    /// Size of the ring buffer: a power of two from 256KiB to 1GiB [default: 32MiB]
    #[arg(long, value_name = "SIZE", env = "CAPTURE_AGENT_RING_SIZE")]
    ring_size: Option<RingSize>,

    /// Containers that are captured at once; more are refused, counted, and taken in when a place is free [default:
    /// 4096]
    #[arg(long, value_name = "COUNT", env = "CAPTURE_AGENT_SESSIONS_MAX",
          value_parser = clap::value_parser!(u32).range(i64::from(*SESSIONS_MAX.start())..=i64::from(*SESSIONS_MAX.end())))]
    sessions_max: Option<u32>,

    /// How often a container's session is sealed, reconciled and saved, and the next one begun: 1s to 1h [default: 30s]
    #[arg(long, value_name = "PERIOD", env = "CAPTURE_AGENT_ROTATION_INTERVAL",
          value_parser = Period::between(Duration::from_secs(1), Duration::from_hours(1)))]
    rotation_interval: Option<Period>,

    /// Longest line; longer ones are given out in pieces [default: 1MiB]
    #[arg(long, value_name = "SIZE", env = "CAPTURE_AGENT_MAX_LINE", value_parser = Size::between(1, LONGEST_LINE))]
    max_line: Option<Size>,
}

impl CaptureArgs {
    /// Lays the arguments over what the file says.
    pub fn lay_over(&self, section: &mut CaptureSection) {
        set(&mut section.attach, self.attach.as_ref());
        set(&mut section.side, self.side.as_ref());
        set(&mut section.ring_size, self.ring_size.as_ref());
        set(&mut section.sessions_max, self.sessions_max.as_ref());
        set(&mut section.rotation_interval, self.rotation_interval.as_ref());
        set(&mut section.max_line_bytes, self.max_line.as_ref());
    }
}

/// One sink, instead of the file's.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Output: any of these stands for one sink, instead of all that the file has")]
pub struct SinkArgs {
    /// How records are written to standard output [default: json]
    #[arg(long, value_enum, env = "CAPTURE_AGENT_FORMAT")]
    format: Option<Encoding>,

    /// Write to files instead of standard output; `{container_name}`, `{container_id}` and `{stream}` are replaced
    #[arg(long, value_name = "TEMPLATE", env = "CAPTURE_AGENT_FILE_PATH")]
    file_path: Option<PathTemplate>,

    /// What stands in place of missing bytes in the raw encoding; `{bytes}` and `{reason}` are replaced
    #[arg(long, value_name = "TEXT", env = "CAPTURE_AGENT_GAP_MARKER")]
    gap_marker: Option<String>,

    /// How records are written to files [default: json]
    #[arg(long, value_enum, env = "CAPTURE_AGENT_FILE_ENCODING", requires = "file_path")]
    file_encoding: Option<Encoding>,
}

impl SinkArgs {
    /// Lays the arguments over what the file says.
    pub fn lay_over(&self, sinks: &mut Sinks) {
        let sink = if let Some(path) = &self.file_path {
            let mut files = FileConfig::at(path.clone());
            set(&mut files.encoding, self.file_encoding.as_ref());
            set(&mut files.gap_marker, self.gap_marker.as_ref());
            SinkConfig::File(files)
        } else if self.format.is_some() || self.gap_marker.is_some() {
            let mut console = ConsoleConfig::default();
            set(&mut console.encoding, self.format.as_ref());
            set(&mut console.gap_marker, self.gap_marker.as_ref());
            SinkConfig::Console(console)
        } else {
            return;
        };
        if !sinks.0.is_empty() {
            let names: Vec<_> = sinks.0.keys().map(ToString::to_string).collect();
            tracing::warn!(
                sinks = names.join(", "),
                "the file's sinks are not used: flags or the environment give another one"
            );
        }
        *sinks = Sinks::one(sink);
    }
}

/// What the agent keeps and shows of its own operation.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "The agent's own operation")]
struct AdminArgs {
    /// Address of the metrics, the API and its page; elsewhere than on loopback, the API takes a token and TLS [default:
    /// 127.0.0.1:8001]
    #[arg(long, value_name = "ADDRESS", env = "CAPTURE_AGENT_LISTEN")]
    listen: Option<SocketAddr>,

    /// File with the token that the API then takes; without one everybody on this machine may look at containers and
    /// their logs
    #[arg(long, value_name = "FILE", env = "CAPTURE_AGENT_TOKEN_FILE")]
    token_file: Option<PathBuf>,

    /// Certificate with its chain (PEM), for TLS on that address
    #[arg(long, value_name = "FILE", env = "CAPTURE_AGENT_CERT_FILE")]
    cert_file: Option<PathBuf>,

    /// Key of that certificate (PEM)
    #[arg(long, value_name = "FILE", env = "CAPTURE_AGENT_KEY_FILE")]
    key_file: Option<PathBuf>,

    /// Live streams of records that may be open at once; 0 for nobody [default: 16]
    #[arg(long, value_name = "COUNT", env = "CAPTURE_AGENT_VIEWERS_MAX",
          value_parser = clap::value_parser!(u32).range(i64::from(*VIEWERS_MAX.start())..=i64::from(*VIEWERS_MAX.end())))]
    viewers_max: Option<u32>,

    /// Memory for the last records of all containers, which `tail --since-start` begins with: 64KiB to 1GiB; without it
    /// nothing is kept
    #[arg(long, value_name = "SIZE", env = "CAPTURE_AGENT_RECENT_SIZE",
          value_parser = Size::between(*RECENT_SIZE.start(), *RECENT_SIZE.end()))]
    recent_size: Option<Size>,

    /// How long the series of a container that is gone stay: 1s to 24h [default: 5m]
    #[arg(long, value_name = "PERIOD", env = "CAPTURE_AGENT_METRICS_GRACE",
          value_parser = Period::between(Duration::from_secs(1), Duration::from_hours(24)))]
    metrics_grace: Option<Period>,

    /// Count runs and time of the eBPF programs while they are scraped; that costs each run two readings of the clock
    /// [default: false]
    #[arg(long, value_name = "BOOL", env = "CAPTURE_AGENT_BPF_STATS", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new())]
    bpf_stats: Option<bool>,

    /// Where positions and counters of sessions are kept; belongs to one agent [default: /var/lib/capture-agent]
    #[arg(long, value_name = "DIRECTORY", env = "CAPTURE_AGENT_STATE_DIR")]
    state_dir: Option<PathBuf>,
}

impl AdminArgs {
    fn lay_over(&self, section: &mut AdminSection) {
        set(&mut section.listen, self.listen.as_ref());
        let given = [&self.token_file, &self.cert_file, &self.key_file];
        let fields = [&mut section.token_file, &mut section.cert_file, &mut section.key_file];
        for (field, given) in fields.into_iter().zip(given).filter(|(_, given)| given.is_some()) {
            field.clone_from(given);
        }
        set(&mut section.viewers_max, self.viewers_max.as_ref());
        section.recent_size = self.recent_size.or(section.recent_size);
        set(&mut section.metrics_grace, self.metrics_grace.as_ref());
        set(&mut section.bpf_stats, self.bpf_stats.as_ref());
        set(&mut section.state_dir, self.state_dir.as_ref());
    }
}

/// What is given replaces what there is.
pub fn set<T: Clone>(field: &mut T, given: Option<&T>) {
    if let Some(given) = given {
        field.clone_from(given);
    }
}
