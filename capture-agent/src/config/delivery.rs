//! How records reach a sink: what sinks have in common.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Problem;
use super::units::{Period, Size, zero_or_longer};
use crate::delivery::BatchLimits;

/// How records are put together into one request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BatchConfig {
    /// A batch goes out when it holds so many bytes of output, before compression.
    pub max_bytes: Size,

    /// A batch goes out when it holds so many records.
    #[schemars(range(min = 1))]
    pub max_records: std::num::NonZeroU32,

    /// A batch goes out when its first record has waited for so long.
    pub timeout: Period,
}

/// How much is written at a time to what is on this machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LocalBatchConfig {
    /// Most bytes of output in one batch.
    pub max_bytes: Size,

    /// Most records in one batch.
    #[schemars(range(min = 1))]
    pub max_records: std::num::NonZeroU32,

    /// How long the first record waits for more; `0s` for not at all.
    #[serde(deserialize_with = "zero_or_longer")]
    pub timeout: Period,
}

impl Default for LocalBatchConfig {
    fn default() -> Self {
        Self {
            max_bytes: Size::mib(4),
            max_records: std::num::NonZeroU32::MIN.saturating_add(65_535),
            timeout: Period(std::time::Duration::ZERO),
        }
    }
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            max_bytes: Size::mib(1),
            max_records: std::num::NonZeroU32::MIN.saturating_add(9_999),
            timeout: Period::seconds(1),
        }
    }
}

impl BatchConfig {
    /// The same for the delivery.
    #[must_use]
    pub fn limits(&self) -> BatchLimits {
        let Self { max_bytes, max_records, timeout } = self;
        BatchLimits { max_bytes: max_bytes.0, max_records: max_records.get() as usize, timeout: timeout.0 }
    }
}

impl LocalBatchConfig {
    /// The same for the delivery.
    #[must_use]
    pub fn limits(&self) -> BatchLimits {
        let Self { max_bytes, max_records, timeout } = self;
        BatchLimits { max_bytes: max_bytes.0, max_records: max_records.get() as usize, timeout: timeout.0 }
    }
}

/// Where records wait for a sink.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BufferConfig {
    /// In what they wait.
    pub r#type: BufferType,

    /// Bytes that may wait: of memory, by default `32MiB`, or of disk, by default `1GiB`.
    pub max_bytes: Option<Size>,

    /// What is dropped, and counted, when the buffer is full.
    pub on_full: OnFull,

    /// Directory of a buffer on disk; belongs to one sink. By default `buffer/NAME` in the state directory.
    pub path: Option<PathBuf>,

    /// How often a buffer on disk is brought to the disk itself: what a machine that loses its power may forget. `1s` by
    /// default; `0s` to do so after every batch.
    #[serde(deserialize_with = "zero_or_longer")]
    pub fsync_interval: Option<Period>,
}

/// In what records wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BufferType {
    /// Memory: what waits is gone when the agent is.
    #[default]
    Memory,
    /// Files: what waits outlives the agent, and is delivered at least once.
    Disk,
}

/// What is dropped when a buffer is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFull {
    /// What comes.
    #[default]
    DropNewest,
    /// What has waited longest.
    DropOldest,
}

impl BufferConfig {
    /// Bytes that may wait.
    #[must_use]
    pub fn size(&self) -> Size {
        self.max_bytes.unwrap_or(match self.r#type {
            BufferType::Memory => Size::mib(32),
            BufferType::Disk => Size::mib(1024),
        })
    }

    /// How often files are brought to the disk itself.
    #[must_use]
    pub fn fsync_interval(&self) -> Period {
        self.fsync_interval.unwrap_or(Period::seconds(1))
    }

    /// What makes no sense together, in the section at `path`.
    pub fn problems(&self, path: &str, problems: &mut Vec<Problem>) {
        let of_disk = [("path", self.path.is_some()), ("fsync_interval", self.fsync_interval.is_some())];
        for (key, _) in of_disk.into_iter().filter(|(_, is_there)| *is_there && self.r#type == BufferType::Memory) {
            problems.push(Problem::of(
                format!("{path}.{key}"),
                "this is for a buffer on disk, and this one is in memory; give `type: disk`, or take the key away",
            ));
        }
        if self.path.as_ref().is_some_and(|path| path.is_relative()) {
            problems.push(Problem::of(format!("{path}.path"), "give an absolute path"));
        }
    }
}

/// What becomes of a batch that could not be delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryConfig {
    /// Pause before the second try; each further one is twice as long. A part of it is left to chance, so that agents
    /// that lost the same destination do not all come back at once.
    pub initial: Period,

    /// Longest pause.
    pub max: Period,

    /// A batch that could not be delivered for so long is dropped, and counted; without it, tries never end.
    pub give_up_after: Option<Period>,

    /// How often a batch that the destination refuses is divided, so that one bad record costs itself and not the others.
    pub max_splits: u32,

    /// File that records are written to, as JSON, that the destination refuses for good; the agent begins it anew at
    /// 64 MiB and keeps the one before. Without it they are counted only.
    pub dead_letter_path: Option<PathBuf>,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            initial: Period(std::time::Duration::from_millis(250)),
            max: Period::seconds(30),
            give_up_after: None,
            max_splits: 64,
            dead_letter_path: None,
        }
    }
}

impl RetryConfig {
    /// What makes no sense together, in the section at `path`.
    pub fn problems(&self, path: &str, problems: &mut Vec<Problem>) {
        if self.initial > self.max {
            let message = format!("the first pause, {}, is longer than the longest, {}", self.initial, self.max);
            problems.push(Problem::of(format!("{path}.initial"), message));
        }
        if self.dead_letter_path.as_ref().is_some_and(|path| path.is_relative()) {
            problems.push(Problem::of(format!("{path}.dead_letter_path"), "give an absolute path"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(check: impl Fn(&mut Vec<Problem>)) -> Vec<String> {
        let mut problems = Vec::new();
        check(&mut problems);
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_for_a_disk_is_refused_for_memory() {
        let buffer = BufferConfig {
            path: Some("/buffer".into()),
            fsync_interval: Some(Period::seconds(1)),
            ..BufferConfig::default()
        };
        let why = "this is for a buffer on disk, and this one is in memory; give `type: disk`, or take the key away";
        assert_eq!(
            problems(|problems| buffer.problems("sinks.x.buffer", problems)),
            [format!("sinks.x.buffer.path: {why}"), format!("sinks.x.buffer.fsync_interval: {why}")]
        );
        let disk = BufferConfig { r#type: BufferType::Disk, ..buffer };
        assert!(problems(|problems| disk.problems("x", problems)).is_empty());
        let relative = BufferConfig { path: Some("buffer".into()), ..disk };
        assert_eq!(problems(|problems| relative.problems("x", problems)), ["x.path: give an absolute path"]);
    }

    #[test]
    fn the_size_of_a_buffer_depends_on_where_it_is() {
        let mut buffer = BufferConfig::default();
        assert_eq!(buffer.size(), Size::mib(32));
        buffer.r#type = BufferType::Disk;
        assert_eq!((buffer.size(), buffer.fsync_interval()), (Size::mib(1024), Period::seconds(1)));
        buffer.max_bytes = Some(Size::mib(3));
        assert_eq!(buffer.size(), Size::mib(3));
    }

    #[test]
    fn a_first_pause_that_is_longer_than_the_longest_is_refused() {
        let retry = RetryConfig { initial: Period::seconds(40), ..RetryConfig::default() };
        assert_eq!(
            problems(|problems| retry.problems("sinks.x.retry", problems)),
            ["sinks.x.retry.initial: the first pause, 40s, is longer than the longest, 30s"]
        );
        assert!(problems(|problems| RetryConfig::default().problems("x", problems)).is_empty());
    }
}
