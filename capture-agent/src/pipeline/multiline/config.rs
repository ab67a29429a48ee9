//! What the file says about events of several lines.

use regex::bytes::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules::{Patterns, Rules};
use super::{Multiline, Settings};
use crate::config::units::{Period, Size};

/// The largest event that may be asked for, in bytes: it is held in memory for each stream.
const LARGEST: u64 = 64 << 20;

/// How lines that belong together become one record.
///
/// A preset or patterns hold for all containers; the label of a container, which names a preset or `none`, wins. Without
/// either, only containers with the label are looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MultilineConfig {
    /// What the stack traces of a language look like, or `indentation`.
    pub preset: Option<Preset>,

    /// Regular expression of the first line of an event. Alone, it makes every other line part of the event before.
    pub start_pattern: Option<String>,

    /// Regular expression of the lines that belong to the one before. Alone, it makes every other line the first of an
    /// event. With both patterns, a line that matches neither stands for itself.
    pub continuation_pattern: Option<String>,

    /// How long an event waits for its next line, from `1ms` to `1m`. One that grows slowly is given out at the latest
    /// after eight times as long.
    #[serde(deserialize_with = "Period::deserialize_between::<_, 1, 60_000>")]
    pub timeout: Period,

    /// Largest event, from `1KiB` to `64MiB`; one that is larger is given out in pieces.
    #[serde(deserialize_with = "Size::deserialize_between::<_, 1024, LARGEST>")]
    pub max_bytes: Size,

    /// The label by which a container says what holds for it.
    pub label: String,
}

impl Default for MultilineConfig {
    fn default() -> Self {
        Self {
            preset: None,
            start_pattern: None,
            continuation_pattern: None,
            timeout: Period::seconds(1),
            max_bytes: Size::mib(1),
            label: "capture.multiline".to_owned(),
        }
    }
}

/// Which lines belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Stack traces of the JVM's languages, and of .NET.
    Java,
    /// Tracebacks, also chained ones, and groups of exceptions.
    Python,
    /// Panics with their goroutines.
    Go,
    /// Errors with their stacks, causes and properties, as Node.js prints them.
    Node,
    /// Exceptions with their backtraces, as Ruby and Rails print them.
    Ruby,
    /// Panics, and the errors that `main` returns.
    Rust,
    /// Lines that are indented, or begin with a closing bracket, belong to the line before.
    Indentation,
}

impl Preset {
    /// All names.
    pub(super) const NAMES: &str = "java, python, go, node, ruby, rust, indentation";

    /// As a label names it.
    pub(super) fn of_label(value: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::from(value)).ok()
    }
}

/// Why no stage can be made.
#[derive(Debug, thiserror::Error)]
pub enum MultilineError {
    /// A preset has patterns of its own.
    #[error("`preset` and `{0}` exclude each other; take one away")]
    Both(&'static str),
    /// Not a regular expression.
    #[error("{field}: {cause}")]
    Pattern {
        /// Which one.
        field: &'static str,
        /// What is wrong with it, and where.
        cause: Box<regex::Error>,
    },
    /// No label has an empty name.
    #[error("label: the name is empty; leave the field out for `capture.multiline`")]
    Label,
}

impl MultilineConfig {
    /// Makes the stage.
    ///
    /// # Errors
    ///
    /// What makes no sense, or no pattern.
    pub fn build(&self) -> Result<Multiline, MultilineError> {
        if self.label.is_empty() {
            return Err(MultilineError::Label);
        }
        let start = pattern("start_pattern", self.start_pattern.as_deref())?;
        let continuation = pattern("continuation_pattern", self.continuation_pattern.as_deref())?;
        let rules = match (self.preset, start, continuation) {
            (Some(_), Some(_), _) => return Err(MultilineError::Both("start_pattern")),
            (Some(_), None, Some(_)) => return Err(MultilineError::Both("continuation_pattern")),
            (Some(preset), None, None) => Some(Rules::Preset(preset)),
            (None, Some(start), None) => Some(Rules::Patterns(Patterns::Start(start))),
            (None, None, Some(continuation)) => Some(Rules::Patterns(Patterns::Continuation(continuation))),
            (None, Some(start), Some(continuation)) => Some(Rules::Patterns(Patterns::Both { start, continuation })),
            (None, None, None) => None,
        };
        let settings =
            Settings { rules, timeout: self.timeout.0, max_bytes: self.max_bytes.0, label: self.label.clone() };
        Ok(Multiline::new(settings))
    }
}

fn pattern(field: &'static str, text: Option<&str>) -> Result<Option<Regex>, MultilineError> {
    let compile = |text| Regex::new(text).map_err(|error| MultilineError::Pattern { field, cause: Box::new(error) });
    text.map(compile).transpose()
}
