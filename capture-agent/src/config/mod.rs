//! What an agent is to be like, as its file says it.
//!
//! Flags win over the environment, that over the file, and that over the defaults: [`ConfigFile::load`] reads the file,
//! and what the command line lays over it is checked with it.

mod admin;
mod capture;
mod delivery;
mod docker;
mod file;
pub mod page;
pub mod reload;
mod schema;
mod secret;
mod sink;
mod tls;
pub mod units;
mod yaml;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pipeline::PipelineConfig;
use crate::pipeline::select::SelectConfig;

pub use self::admin::{AdminSection, RECENT_SIZE, VIEWERS_MAX};
pub use self::capture::{CaptureSection, LONGEST_LINE, SESSIONS_MAX};
pub use self::delivery::{BatchConfig, BufferConfig, BufferType, LocalBatchConfig, OnFull, RetryConfig};
pub use self::docker::DockerSection;
pub use self::file::{ConfigError, ConfigFile, DEFAULT_PATH, Loaded, Overlay};
pub use self::schema::schema;
pub use self::secret::{Secret, SecretError};
pub use self::sink::{BuildError, SinkConfig, SinkContext, SinkName, Sinks};
pub use self::tls::TlsConfig;
pub use self::yaml::{Position, Problem};

/// What an agent is to be like.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How output is captured. A change takes effect at the next start.
    pub capture: CaptureSection,
    /// The engine that is asked for names and labels. A change takes effect at the next start.
    pub docker: DockerSection,
    /// What the agent keeps and shows of its own operation. A change takes effect at the next start.
    pub admin: AdminSection,
    /// Which containers are captured.
    pub select: SelectConfig,
    /// What happens to records on their way to all sinks.
    pub pipeline: PipelineConfig,
    /// Where records go: any number of sinks, each with a name of your choice. Without any there is one, `default`,
    /// which writes JSON to standard output.
    pub sinks: Sinks,
}

impl Config {
    /// What makes no sense together.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.capture.problems(&mut problems);
        self.docker.problems(&mut problems);
        self.admin.problems(&mut problems);
        problems.extend(self.select.build().err().map(|error| Problem::of("select", error.to_string())));
        problems.extend(self.pipeline.build().err().map(|error| Problem::of("pipeline", error.to_string())));
        self.sinks.problems(&mut problems);
        problems
    }
}
