//! Which records a sink is given.

use std::collections::BTreeMap;

use capture_common::Stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pipeline::record::Level;

/// Which records a sink is given. All of what is said has to hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FilterConfig {
    /// Only containers that match; all of them, if nothing is given.
    pub include: SelectorConfig,

    /// No containers that match.
    pub exclude: SelectorConfig,

    /// Only these streams; both, if none is given.
    pub streams: Vec<StreamName>,

    /// Only records whose level is known and at least this severe.
    pub min_level: Option<Level>,
}

/// Containers, by what the engine says of them. In a pattern `*` stands for any characters, `?` for one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SelectorConfig {
    /// Patterns of which one has to match the container's name.
    pub names: Vec<String>,

    /// Patterns of which one has to match the image, as the container was started with it: `nginx:*`.
    pub images: Vec<String>,

    /// Labels with patterns of their values: one of them has to be there, and match.
    pub labels: BTreeMap<String, String>,

    /// Patterns of which one has to match the name of the compose project.
    pub compose_projects: Vec<String>,
}

/// A stream, as the file names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StreamName {
    /// Standard output, and what is written to a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl From<StreamName> for Stream {
    fn from(name: StreamName) -> Self {
        match name {
            StreamName::Stdout => Self::Stdout,
            StreamName::Stderr => Self::Stderr,
        }
    }
}
