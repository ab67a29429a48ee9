//! What can be said of a console.

use std::io::{self, IsTerminal as _};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Console;
use crate::config::{BufferConfig, LocalBatchConfig, SinkContext};
use crate::pipeline::select::FilterConfig;
use crate::sinks::encode::{DEFAULT_GAP_MARKER, Encoder, Encoding};

/// Records on standard output.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConsoleConfig {
    /// Which records it is given.
    pub filter: FilterConfig,

    /// How records are written. Text is coloured on a terminal, unless `NO_COLOR` is set.
    pub encoding: Encoding,

    /// What stands in place of missing bytes in the raw encoding; `{bytes}` and `{reason}` are replaced.
    pub gap_marker: String,

    /// How much is written at a time.
    pub batch: LocalBatchConfig,

    /// Where records wait for it.
    pub buffer: BufferConfig,
}

impl Default for ConsoleConfig {
    fn default() -> Self {
        Self {
            filter: FilterConfig::default(),
            encoding: Encoding::default(),
            gap_marker: DEFAULT_GAP_MARKER.to_owned(),
            batch: LocalBatchConfig::default(),
            buffer: BufferConfig::default(),
        }
    }
}

impl ConsoleConfig {
    /// The sink.
    #[must_use]
    pub fn build(&self, context: SinkContext) -> Console {
        let color = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let encoder = Encoder::new(self.encoding, context.host, color).gap_marker(self.gap_marker.clone());
        Console::new(context.name, encoder)
    }
}
