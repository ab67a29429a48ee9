//! Fields and levels of lines that are structured, or look as if.
//!
//! A line that is not what it was taken for stays as it is: nothing of it is lost, and nothing guessed.

mod json;
mod level;
mod logfmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::record::{Attributes, Content, Level, Record};

/// Fields of a line, in their order.
pub type Fields = Vec<(String, Value)>;

/// The largest line that is looked at, in bytes: fields take some times as much memory as their text.
const LARGEST: usize = 256 << 10;
/// Most fields of one line. One that has more stays as it is.
const MOST_FIELDS: usize = 256;

/// What a line can be read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// An object: `{"level":"info","msg":"started"}`.
    Json,
    /// Pairs: `level=info msg="not started"`.
    Logfmt,
}

/// Reads lines.
#[derive(Clone, Debug)]
pub struct Parser {
    formats: Vec<Format>,
    detect_level: bool,
}

impl Parser {
    /// Tries `formats` in their order; with `detect_level` looks for a level in the text of other lines.
    #[must_use]
    pub fn new(formats: Vec<Format>, detect_level: bool) -> Self {
        Self { formats, detect_level }
    }

    /// Notes what a line says.
    pub fn read(&self, record: &mut Record) {
        let Content::Line { message, partial, .. } = &record.content else { return };
        // A piece of a line is no object, and need not begin with the line's level.
        let is_readable = !partial && message.len() <= LARGEST;
        let fields = self.formats.iter().filter(|_| is_readable).find_map(|format| match format {
            Format::Json => json::fields(message),
            Format::Logfmt => logfmt::fields(message),
        });
        let level = match &fields {
            Some(fields) => level::of_fields(fields).or_else(|| self.level(message)),
            None => self.level(message),
        };
        if fields.is_some() || level.is_some() {
            let attributes = record.attributes.get_or_insert_default();
            attributes.level = level.or(attributes.level);
            attributes.fields = fields.unwrap_or_default();
        }
    }

    fn level(&self, message: &[u8]) -> Option<Level> {
        self.detect_level.then(|| level::of_text(message)).flatten()
    }
}

impl Attributes {
    /// The text among the fields, by the names that loggers give it.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.message_field().and_then(|index| self.fields[index].1.as_str())
    }

    /// Where it stands.
    pub(crate) fn message_field(&self) -> Option<usize> {
        self.fields.iter().position(|(name, value)| matches!(name.as_str(), "msg" | "message") && value.is_string())
    }

    /// The program's own time among the fields, in nanoseconds since the Unix epoch, by the names that loggers give it:
    /// RFC 3339, or a number of seconds, milliseconds, microseconds or nanoseconds by its size.
    #[must_use]
    pub fn time(&self) -> Option<i64> {
        let names = ["time", "ts", "timestamp", "@timestamp"];
        let (_, value) = self.fields.iter().find(|(name, _)| names.contains(&name.as_str()))?;
        match value {
            Value::String(text) => text.parse::<jiff::Timestamp>().map_or_else(
                |_| text.parse().ok().and_then(unix_nanoseconds),
                |time| i64::try_from(time.as_nanosecond()).ok(),
            ),
            Value::Number(number) => number.as_f64().and_then(unix_nanoseconds),
            _ => None,
        }
    }
}

/// The unit is that of a time in this century.
#[expect(clippy::cast_possible_truncation, reason = "within the range by then")]
fn unix_nanoseconds(number: f64) -> Option<i64> {
    let factor = match number {
        1e8..1e11 => 1e9,
        1e11..1e14 => 1e6,
        1e14..1e17 => 1e3,
        1e17..9e18 => 1.0,
        _ => return None,
    };
    Some((number * factor) as i64)
}

#[cfg(test)]
mod tests;
