//! Arguments that `run` and `exec` share.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::Period;
use crate::kernel::{AttachMode, CaptureSide};
use crate::sinks::encode::{DEFAULT_GAP_MARKER, Encoding};
use crate::sinks::file::PathTemplate;

/// How capture is done and where its records go.
#[derive(Clone, Debug, Args)]
pub struct CaptureArgs {
    /// Which hooks see the writes: auto takes the one that misses nothing.
    #[arg(long, value_enum, default_value_t, env = "CAPTURE_AGENT_ATTACH")]
    pub attach: AttachMode,

    /// On which side of the pipe output is captured; relay needs the raw hooks.
    #[arg(long, value_enum, default_value_t, env = "CAPTURE_AGENT_SIDE")]
    pub side: CaptureSide,

    /// Size of the ring buffer: a power of two from 256KiB to 1GiB.
    #[arg(long, value_name = "SIZE", default_value = "32MiB", env = "CAPTURE_AGENT_RING_SIZE")]
    pub ring_size: RingSize,

    /// Containers that are captured at once; more are refused, counted, and taken in when a place is free.
    #[arg(long, value_name = "COUNT", default_value_t = 4096, env = "CAPTURE_AGENT_SESSIONS_MAX",
          value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub sessions_max: u32,

    /// How often a container's session is sealed, reconciled and saved, and the next one begun: 1s to 1h.
    #[arg(long, value_name = "PERIOD", default_value = "30s", env = "CAPTURE_AGENT_ROTATION_INTERVAL",
          value_parser = Period::between(Duration::from_secs(1), Duration::from_hours(1)))]
    pub rotation_interval: Period,

    /// Longest line; longer ones are given out in pieces.
    #[arg(long, value_name = "SIZE", default_value = "1MiB", env = "CAPTURE_AGENT_MAX_LINE")]
    pub max_line: Size,

    /// How records are written to standard output.
    #[arg(long, value_enum, default_value_t, env = "CAPTURE_AGENT_FORMAT")]
    pub format: Encoding,

    /// Write to files instead of standard output; `{container_name}`, `{container_id}` and `{stream}` are replaced.
    #[arg(long, value_name = "TEMPLATE", env = "CAPTURE_AGENT_FILE_PATH")]
    pub file_path: Option<PathTemplate>,

    /// What stands in place of missing bytes in the raw encoding; `{bytes}` and `{reason}` are replaced.
    #[arg(long, value_name = "TEXT", default_value = DEFAULT_GAP_MARKER, env = "CAPTURE_AGENT_GAP_MARKER", hide_default_value = true)]
    pub gap_marker: String,

    /// How records are written to files.
    #[arg(long, value_enum, default_value_t, env = "CAPTURE_AGENT_FILE_ENCODING", requires = "file_path")]
    pub file_encoding: Encoding,
}

/// What the agent keeps and shows of its own operation.
#[derive(Clone, Debug, Args)]
pub struct AdminArgs {
    /// Address of the metrics endpoint.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8001", env = "CAPTURE_AGENT_LISTEN")]
    pub listen: SocketAddr,

    /// How long the series of a container that is gone stay: 1s to 24h.
    #[arg(long, value_name = "PERIOD", default_value = "5m", env = "CAPTURE_AGENT_METRICS_GRACE",
          value_parser = Period::between(Duration::from_secs(1), Duration::from_hours(24)))]
    pub metrics_grace: Period,

    /// Count runs and time of the eBPF programs while they are scraped; that costs each run two readings of the clock.
    #[arg(long, env = "CAPTURE_AGENT_BPF_STATS")]
    pub bpf_stats: bool,

    /// Where positions and counters of sessions are kept; belongs to one agent.
    #[arg(long, value_name = "DIRECTORY", default_value = "/var/lib/capture-agent", env = "CAPTURE_AGENT_STATE_DIR")]
    pub state_dir: PathBuf,
}

/// A number of bytes: `4096`, `64KiB`, `32MiB`, `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u32);

/// Why a size cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SizeError {
    /// Not a number with a unit.
    #[error("not a size; write a number of bytes, or one with KiB, MiB or GiB")]
    Syntax,
    /// Zero, or beyond 2 GiB.
    #[error("out of range; the largest size is 2GiB")]
    Range,
    /// Not a size that the kernel takes for a ring buffer.
    #[error("not a power of two from 256KiB to 1GiB; 32MiB is the default")]
    Ring,
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| SizeError::Syntax)?;
        let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kib" | "k" => 1 << 10,
            "mib" | "m" => 1 << 20,
            "gib" | "g" => 1 << 30,
            _ => return Err(SizeError::Syntax),
        };
        match number.checked_mul(factor) {
            Some(bytes @ 1..=0x8000_0000) => Ok(Self(bytes as u32)),
            _ => Err(SizeError::Range),
        }
    }
}

/// A [`Size`] that the kernel takes for a ring buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSize(pub u32);

impl FromStr for RingSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let Size(bytes) = text.parse()?;
        // At least two of the largest records, each within a container's share of half the ring.
        if bytes.is_power_of_two() && (256 << 10..=1 << 30).contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(SizeError::Ring)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes_with_units() {
        for (text, bytes) in [("4096", 4096), ("64KiB", 65536), ("32mib", 32 << 20), ("1 GiB", 1 << 30)] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "MiB", "3 MB", "-1", "1.5GiB"] {
            assert_eq!(text.parse::<Size>(), Err(SizeError::Syntax), "{text}");
        }
        for text in ["0", "5GiB", "99999999999999999999GiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn takes_only_ring_sizes_that_the_kernel_takes() {
        assert_eq!("256KiB".parse(), Ok(RingSize(256 << 10)));
        for text in ["128KiB", "3MiB", "2GiB"] {
            assert_eq!(text.parse::<RingSize>(), Err(SizeError::Ring), "{text}");
        }
    }
}
