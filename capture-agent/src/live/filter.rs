//! Which records a viewer is to see.

use std::sync::Arc;

use capture_common::Stream;
use globset::{Glob, GlobMatcher};
use regex::bytes::{Regex, RegexBuilder};

use crate::pipeline::record::{Content, Origin, Record};

/// Longest pattern, in bytes.
const LONGEST_PATTERN: usize = 1024;
/// More patterns than anybody types.
const MOST_PATTERNS: usize = 64;
/// Memory that a compiled expression may take, in bytes.
const EXPRESSION_SIZE: usize = 1 << 20;

/// What was asked for, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Globs on the name, or on the id; one of them is to match.
    pub names: Vec<String>,
    /// `key=glob`; each is to match.
    pub labels: Vec<String>,
    /// `stdout` or `stderr`; both if not given.
    pub stream: Option<String>,
    /// A regular expression that the line is to match somewhere.
    pub grep: Option<String>,
}

/// Which records a viewer is to see.
#[derive(Debug, Default)]
pub struct Filter {
    names: Vec<GlobMatcher>,
    labels: Vec<(String, GlobMatcher)>,
    stream: Option<Stream>,
    grep: Option<Regex>,
    /// Neighbours are mostly of one container.
    last: Option<(Arc<Origin>, bool)>,
}

/// What cannot be asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A glob that is none.
    #[error("`{0}` is no pattern for {1}: {2}")]
    Glob(String, &'static str, String),
    /// An expression that is none, or too large a one.
    #[error("`{0}` is no regular expression: {1}")]
    Grep(String, String),
    /// Another stream.
    #[error("there is no stream `{0}`; give stdout or stderr")]
    Stream(String),
    /// A label without a value.
    #[error("`{0}` is no label; give key=value, where the value may hold * and ?")]
    Label(String),
    /// Too much of it.
    #[error("that is too much to look for; give at most {MOST_PATTERNS} patterns of {LONGEST_PATTERN} bytes")]
    TooLong,
}

impl Query {
    /// Reads what was asked for.
    ///
    /// # Errors
    ///
    /// What of it cannot be understood.
    pub fn build(&self) -> Result<Filter, FilterError> {
        let texts = || self.names.iter().chain(&self.labels).chain(&self.grep);
        if texts().count() > MOST_PATTERNS || texts().any(|text| text.len() > LONGEST_PATTERN) {
            return Err(FilterError::TooLong);
        }
        let label = |text: &String| {
            let (key, value) = text.split_once('=').ok_or_else(|| FilterError::Label(text.clone()))?;
            Ok((key.to_owned(), glob(value, "a label")?))
        };
        let stream = |name: &String| {
            let found = Stream::ALL.into_iter().find(|stream| stream.as_str() == *name);
            found.ok_or_else(|| FilterError::Stream(name.clone()))
        };
        Ok(Filter {
            names: self.names.iter().map(|name| glob(name, "a name")).collect::<Result<_, _>>()?,
            labels: self.labels.iter().map(label).collect::<Result<_, _>>()?,
            stream: self.stream.as_ref().map(stream).transpose()?,
            grep: self.grep.as_deref().map(expression).transpose()?,
            last: None,
        })
    }
}

fn glob(pattern: &str, of: &'static str) -> Result<GlobMatcher, FilterError> {
    let refused = |error: globset::Error| FilterError::Glob(pattern.to_owned(), of, error.kind().to_string());
    Glob::new(pattern).map(|glob| glob.compile_matcher()).map_err(refused)
}

fn expression(pattern: &str) -> Result<Regex, FilterError> {
    // What the library says spans lines and points with carets; the last line says what is wrong.
    let refused = |error: regex::Error| {
        let told = error.to_string();
        let told = told.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        FilterError::Grep(pattern.to_owned(), told)
    };
    RegexBuilder::new(pattern).size_limit(EXPRESSION_SIZE).build().map_err(refused)
}

impl Filter {
    /// Whether lines of the record may be wanted, as far as its container and stream say.
    pub fn wants(&mut self, record: &Record) -> bool {
        if self.stream.is_some_and(|stream| stream != record.stream) {
            return false;
        }
        match &self.last {
            Some((origin, wanted)) if Arc::ptr_eq(origin, &record.origin) => *wanted,
            _ => {
                let wanted = self.wants_origin(&record.origin);
                self.last = Some((Arc::clone(&record.origin), wanted));
                wanted
            }
        }
    }

    fn wants_origin(&self, origin: &Origin) -> bool {
        let is_named = self.names.is_empty()
            || self.names.iter().any(|name| {
                name.is_match(origin.name())
                    || name.is_match(&*origin.container_id)
                    || origin.container_id.get(..12).is_some_and(|id| name.is_match(id))
            });
        let labels = origin.metadata.as_ref().map(|metadata| &metadata.labels);
        let has = |(key, value): &(String, GlobMatcher)| {
            labels.and_then(|labels| labels.get(key)).is_some_and(|found| value.is_match(found))
        };
        is_named && self.labels.iter().all(has)
    }

    /// Whether a single line of what [`wants`](Self::wants) lets through is wanted. Marks of gaps are.
    #[must_use]
    pub fn wants_line(&self, line: &Record) -> bool {
        match (&self.grep, &line.content) {
            (Some(grep), Content::Line { message, .. }) => grep.is_match(message),
            _ => true,
        }
    }
}
