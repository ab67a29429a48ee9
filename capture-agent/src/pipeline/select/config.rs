//! What the file says about which containers and records are wanted.

use std::collections::BTreeMap;

use capture_common::Stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::matcher::{Matcher, PatternError};
use super::{Selection, Streams};
use crate::pipeline::record::Level;

/// Which containers are captured. A container with the label `capture.exclude=true` never is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SelectConfig {
    /// Whether containers are wanted unless something speaks against them, or only where something speaks for them.
    pub mode: SelectMode,

    /// Only containers that match. Where several kinds of patterns are given, each has to match.
    pub include: SelectorConfig,

    /// No containers that match, whatever else holds. Where several kinds of patterns are given, one that matches is
    /// enough.
    pub exclude: SelectorConfig,
}

/// Which records a sink is given, of those that are captured. A container with the label `capture.exclude=true` is left
/// out. What is not said leaves out nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FilterConfig {
    /// Whether containers are wanted unless something speaks against them, or only where something speaks for them.
    pub mode: SelectMode,

    /// Only containers that match. Where several kinds of patterns are given, each has to match.
    pub include: SelectorConfig,

    /// No containers that match, whatever else holds. Where several kinds of patterns are given, one that matches is
    /// enough.
    pub exclude: SelectorConfig,

    /// Only these streams; both, if none is given.
    pub streams: Vec<StreamName>,

    /// No records that are less severe. A record whose level is not known passes: see `pipeline.detect_level`. So do the
    /// marks of gaps.
    pub min_level: Option<Level>,
}

/// What a container has to do to be wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SelectMode {
    /// Nothing: all are wanted but those that are excluded.
    #[default]
    Exclude,
    /// Carry the label `capture.include=true`, or match what `include` says, if it says something.
    Include,
}

/// Containers, by what the engine says of them. In a pattern `*` stands for any characters, `?` for one, `[abc]` for one
/// of them, `{a,b}` for one of several. A container that the engine says nothing of matches no pattern.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SelectorConfig {
    /// Patterns of which one has to match the container's name.
    pub names: Vec<String>,

    /// Patterns of which one has to match the image, as the container was started with it: `nginx:*`.
    pub images: Vec<String>,

    /// Labels with patterns of their values: one of them has to be there, and match. `*` matches any value, the empty
    /// one too.
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

impl SelectConfig {
    /// Makes the selection.
    ///
    /// # Errors
    ///
    /// The pattern that is none.
    pub fn build(&self) -> Result<Selection, PatternError> {
        let matcher = Matcher::new(self.mode, &self.include, &self.exclude)?;
        Ok(Selection::new(matcher, Streams::default(), None))
    }
}

impl FilterConfig {
    /// Makes the selection.
    ///
    /// # Errors
    ///
    /// The pattern that is none.
    pub fn build(&self) -> Result<Selection, PatternError> {
        let matcher = Matcher::new(self.mode, &self.include, &self.exclude)?;
        let streams = if self.streams.is_empty() {
            Streams::default()
        } else {
            Streams::of(self.streams.iter().copied().map(Stream::from))
        };
        Ok(Selection::new(matcher, streams, self.min_level))
    }
}
