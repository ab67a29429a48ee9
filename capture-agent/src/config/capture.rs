//! The section `capture`.

use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize};

use super::Problem;
use super::units::{Period, RingSize, Size};
use crate::kernel::{AttachMode, CaptureSide};

/// Containers that may be captured at once.
pub const SESSIONS_MAX: RangeInclusive<u32> = 1..=65_536;
/// The longest that a line may be at most, in bytes.
pub const LONGEST_LINE: u64 = 1 << 31;

/// How output is captured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CaptureSection {
    /// Which hooks see the writes: `auto` takes the one that misses nothing.
    pub attach: AttachMode,

    /// On which side of the pipe output is captured; `relay` needs the raw hooks.
    pub side: CaptureSide,

    /// Size of the ring buffer: a power of two from `256KiB` to `1GiB`. One container may hold half of it.
    pub ring_size: RingSize,

    /// Containers that are captured at once, from 1 to 65536; more are refused, counted, and taken in when a place is
    /// free.
    #[serde(deserialize_with = "sessions_max")]
    #[schemars(range(min = 1, max = 65536))]
    pub sessions_max: u32,

    /// How often a container's session is sealed, reconciled and saved, and the next one begun: `1s` to `1h`.
    #[serde(deserialize_with = "Period::deserialize_between::<_, 1_000, 3_600_000>")]
    pub rotation_interval: Period,

    /// Longest line, up to `2GiB`; longer ones are given out in pieces.
    #[serde(deserialize_with = "Size::deserialize_between::<_, 1, LONGEST_LINE>")]
    pub max_line_bytes: Size,
}

impl Default for CaptureSection {
    fn default() -> Self {
        Self {
            attach: AttachMode::default(),
            side: CaptureSide::default(),
            ring_size: RingSize(32 << 20),
            sessions_max: 4096,
            rotation_interval: Period::seconds(30),
            max_line_bytes: Size::mib(1),
        }
    }
}

impl CaptureSection {
    /// What makes no sense together.
    pub fn problems(&self, problems: &mut Vec<Problem>) {
        if (self.attach, self.side) == (AttachMode::Syscalls, CaptureSide::Relay) {
            problems.push(Problem::of(
                "capture.side",
                "--side relay needs to see reads, which --attach syscalls does not; use --attach raw or auto",
            ));
        }
    }
}

fn sessions_max<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let count = u32::deserialize(deserializer)?;
    if SESSIONS_MAX.contains(&count) {
        Ok(count)
    } else {
        Err(D::Error::invalid_value(Unexpected::Unsigned(count.into()), &"a whole number from 1 to 65536"))
    }
}
