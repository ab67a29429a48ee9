//! What can be said of files.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Compression, Files, IDLE, PathTemplate, Rotation};
use crate::config::units::{Period, Size};
use crate::config::{BufferConfig, LocalBatchConfig, Problem, RetryConfig, SinkContext};
use crate::pipeline::select::FilterConfig;
use crate::sinks::encode::{DEFAULT_GAP_MARKER, Encoder, Encoding};

/// Records in files, one for each value of a path template.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// Where the files are; `{container_name}`, `{container_id}` and `{stream}` are replaced. Directories are made.
    pub path: PathTemplate,

    /// Which records it is given.
    #[serde(default)]
    pub filter: FilterConfig,

    /// How records are written; `raw` is the container's exact bytes.
    #[serde(default)]
    pub encoding: Encoding,

    /// What stands in place of missing bytes in the raw encoding; `{bytes}` and `{reason}` are replaced.
    #[serde(default = "default_gap_marker")]
    pub gap_marker: String,

    /// When a file is moved away and the next one begun; without it never.
    #[serde(default)]
    pub rotation: Option<RotationConfig>,

    /// After how long a file is closed that nothing is written to.
    #[serde(default = "five_minutes")]
    pub idle_timeout: Period,

    /// How much is written at a time.
    #[serde(default)]
    pub batch: LocalBatchConfig,

    /// Where records wait for it.
    #[serde(default)]
    pub buffer: BufferConfig,

    /// What becomes of records that could not be written, when the disk is full for example.
    #[serde(default)]
    pub retry: RetryConfig,
}

fn default_gap_marker() -> String {
    DEFAULT_GAP_MARKER.to_owned()
}

fn five_minutes() -> Period {
    Period(IDLE)
}

impl FileConfig {
    /// Files at `path`, and all else as by default.
    #[must_use]
    pub fn at(path: PathTemplate) -> Self {
        Self {
            path,
            filter: FilterConfig::default(),
            encoding: Encoding::default(),
            gap_marker: default_gap_marker(),
            rotation: None,
            idle_timeout: five_minutes(),
            batch: LocalBatchConfig::default(),
            buffer: BufferConfig::default(),
            retry: RetryConfig::default(),
        }
    }

    /// The sink.
    #[must_use]
    pub fn build(&self, context: SinkContext) -> Files {
        let encoder = Encoder::new(self.encoding, context.host, false).gap_marker(self.gap_marker.clone());
        let rotation = self.rotation.as_ref().map(RotationConfig::build).unwrap_or_default();
        Files::new(context.name, self.path.clone(), encoder).rotation(rotation).idle(self.idle_timeout.0)
    }
}

/// When a file is moved away, under its name and the time, and the next one begun; what becomes of those that were. Give
/// `max_bytes`, `max_age` or both.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RotationConfig {
    /// Largest file; a single record that is longer has a file for itself.
    pub max_bytes: Option<Size>,

    /// How old a file gets, since it was made.
    pub max_age: Option<Period>,

    /// How many of the files that were moved away are kept, for each path; all, if not given.
    pub keep: Option<u32>,

    /// How they are kept.
    pub compression: Compression,
}

impl RotationConfig {
    fn build(&self) -> Rotation {
        Rotation {
            max_bytes: self.max_bytes.map(|size| size.0),
            max_age: self.max_age.map(|period| period.0),
            keep: self.keep.map(|count| count as usize),
            compression: self.compression,
        }
    }

    /// What makes no sense together, in the section at `path`.
    pub fn problems(&self, path: &str, problems: &mut Vec<Problem>) {
        if self.max_bytes.is_none() && self.max_age.is_none() {
            let message = "nothing says when a file is moved away; give `max_bytes`, `max_age` or both";
            problems.push(Problem::of(path.to_owned(), message));
        }
    }
}
