//! What can be said of files.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Files, PathTemplate};
use crate::config::{BufferConfig, RetryConfig, SinkContext};
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

impl FileConfig {
    /// Files at `path`, and all else as by default.
    #[must_use]
    pub fn at(path: PathTemplate) -> Self {
        Self {
            path,
            filter: FilterConfig::default(),
            encoding: Encoding::default(),
            gap_marker: default_gap_marker(),
            buffer: BufferConfig::default(),
            retry: RetryConfig::default(),
        }
    }

    /// The sink.
    #[must_use]
    pub fn build(&self, context: SinkContext) -> Files {
        let encoder = Encoder::new(self.encoding, context.host, false).gap_marker(self.gap_marker.clone());
        Files::new(context.name, self.path.clone(), encoder)
    }
}
