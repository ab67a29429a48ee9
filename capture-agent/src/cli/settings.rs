//! Arguments that `run` and `exec` share.

use std::net::SocketAddr;
use std::str::FromStr;

use clap::Args;

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

    /// Containers that are captured at once; more are refused, and counted.
    #[arg(long, value_name = "COUNT", default_value_t = 4096, env = "CAPTURE_AGENT_MAX_CONTAINERS",
          value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub max_containers: u32,

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

/// Where the agent serves its metrics.
#[derive(Clone, Copy, Debug, Args)]
pub struct AdminArgs {
    /// Address of the metrics endpoint.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8001", env = "CAPTURE_AGENT_LISTEN")]
    pub listen: SocketAddr,
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
