//! Patterns over what the engine says of a container.

use std::collections::BTreeMap;

use globset::{Glob, GlobMatcher, GlobSet, GlobSetBuilder};

use super::config::{SelectMode, SelectorConfig};
use crate::containers::directory::Metadata;

/// A container that says so is never wanted.
const EXCLUDE_LABEL: &str = "capture.exclude";
/// A container that says so is wanted where not all are.
const INCLUDE_LABEL: &str = "capture.include";
/// Set by Docker Compose.
const PROJECT_LABEL: &str = "com.docker.compose.project";

/// A pattern that is none.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{field}: `{pattern}` is no pattern: {cause}; a `\\` before a character takes its meaning from it")]
pub struct PatternError {
    /// The field of the section: `include.names`.
    pub field: String,
    /// The text.
    pub pattern: String,
    /// What is wrong with it.
    pub cause: String,
}

/// Which containers are wanted.
#[derive(Clone, Debug)]
pub(super) struct Matcher {
    mode: SelectMode,
    include: Selector,
    exclude: Selector,
}

impl Matcher {
    pub(super) fn new(
        mode: SelectMode,
        include: &SelectorConfig,
        exclude: &SelectorConfig,
    ) -> Result<Self, PatternError> {
        Ok(Self { mode, include: Selector::new(include, "include")?, exclude: Selector::new(exclude, "exclude")? })
    }

    /// Whether a container is wanted. One that the engine says nothing of is, where that needs no reason: an engine that
    /// hangs costs names, not lines.
    pub(super) fn wants(&self, metadata: Option<&Metadata>) -> bool {
        let Some(metadata) = metadata else { return self.mode == SelectMode::Exclude && self.include.is_empty() };
        if has(metadata, EXCLUDE_LABEL) || self.exclude.matches_one(metadata) {
            return false;
        }
        match self.mode {
            SelectMode::Exclude => self.include.matches_all(metadata),
            SelectMode::Include => {
                has(metadata, INCLUDE_LABEL) || (!self.include.is_empty() && self.include.matches_all(metadata))
            }
        }
    }
}

/// Whether a label says yes.
fn has(metadata: &Metadata, label: &str) -> bool {
    metadata.labels.get(label).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}

/// Patterns by kind; `None` where no pattern of a kind was given.
#[derive(Clone, Debug)]
struct Selector {
    names: Option<GlobSet>,
    images: Option<GlobSet>,
    labels: Option<BTreeMap<String, GlobMatcher>>,
    projects: Option<GlobSet>,
}

impl Selector {
    fn new(config: &SelectorConfig, section: &str) -> Result<Self, PatternError> {
        let field = |field: &str| format!("{section}.{field}");
        let labels = config.labels.iter().map(|(label, pattern)| {
            let glob = glob(pattern, || field(&format!("labels.{label}")))?;
            Ok((label.clone(), glob.compile_matcher()))
        });
        Ok(Self {
            names: set(&config.names, || field("names"))?,
            images: set(&config.images, || field("images"))?,
            labels: (!config.labels.is_empty()).then(|| labels.collect()).transpose()?,
            projects: set(&config.compose_projects, || field("compose_projects"))?,
        })
    }

    /// For each kind of patterns that was given: whether one of them matches.
    fn kinds(&self, metadata: &Metadata) -> impl Iterator<Item = bool> {
        let labels = |patterns: &BTreeMap<String, GlobMatcher>| {
            patterns
                .iter()
                .any(|(label, pattern)| metadata.labels.get(label).is_some_and(|value| pattern.is_match(value)))
        };
        let in_project =
            |patterns: &GlobSet| metadata.labels.get(PROJECT_LABEL).is_some_and(|project| patterns.is_match(project));
        [
            self.names.as_ref().map(|patterns| patterns.is_match(&metadata.name)),
            self.images.as_ref().map(|patterns| patterns.is_match(&metadata.image)),
            self.labels.as_ref().map(labels),
            self.projects.as_ref().map(in_project),
        ]
        .into_iter()
        .flatten()
    }

    fn matches_all(&self, metadata: &Metadata) -> bool {
        self.kinds(metadata).all(|matches| matches)
    }

    fn matches_one(&self, metadata: &Metadata) -> bool {
        self.kinds(metadata).any(|matches| matches)
    }

    fn is_empty(&self) -> bool {
        self.names.is_none() && self.images.is_none() && self.labels.is_none() && self.projects.is_none()
    }
}

fn set(patterns: &[String], field: impl Fn() -> String) -> Result<Option<GlobSet>, PatternError> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(glob(pattern, &field)?);
    }
    let set = set.build().map_err(|error| refused(error, &patterns.join(", "), field()))?;
    Ok(Some(set))
}

fn glob(pattern: &str, field: impl Fn() -> String) -> Result<Glob, PatternError> {
    // A slash is a character like any other: an image's name has them.
    Glob::new(pattern).map_err(|error| refused(error, pattern, field()))
}

#[expect(clippy::needless_pass_by_value, reason = "the error is used up")]
fn refused(error: globset::Error, pattern: &str, field: String) -> PatternError {
    PatternError { field, pattern: pattern.to_owned(), cause: error.kind().to_string() }
}
