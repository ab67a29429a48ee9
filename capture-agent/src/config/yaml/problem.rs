//! What is wrong with a file.

use std::fmt;

use super::Position;

/// One mistake, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands; `None` where it is not in the file.
    pub at: Option<Position>,
    /// The field: `sinks.loki.batch.timeout`; empty where it is not about one.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Problem {
    /// A mistake at a place of the file.
    pub fn at(at: Position, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { at: Some(at), path: path.into(), message: message.into() }
    }

    /// A mistake of a field, wherever its value is from.
    pub fn of(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { at: None, path: path.into(), message: message.into() }
    }
}

/// `LINE:COLUMN: path: message`, to stand behind the name of the file.
impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Position { line, column }) = self.at {
            write!(formatter, "{line}:{column}: ")?;
        }
        if !self.path.is_empty() {
            write!(formatter, "{}: ", self.path)?;
        }
        formatter.write_str(&self.message)
    }
}
