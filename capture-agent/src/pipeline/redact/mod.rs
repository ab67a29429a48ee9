//! What is not to leave the machine, replaced.
//!
//! It is looked for in messages and in the texts among the fields, not in names. What a line too long for one record
//! says across two of its pieces is not found.

mod presets;

use bytes::Bytes;
use regex::bytes::{Captures, Regex};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::presets::RedactPreset;
use super::record::{Content, Record};

/// What is replaced by what: give `pattern` or `preset`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedactConfig {
    /// Regular expression of what is replaced.
    pub pattern: Option<String>,

    /// Something that is often looked for.
    pub preset: Option<RedactPreset>,

    /// What is put in its place. `${1}` and `${name}` stand for groups of the pattern, `$$` for a dollar sign.
    pub replacement: String,
}

impl Default for RedactConfig {
    fn default() -> Self {
        Self { pattern: None, preset: None, replacement: "[redacted]".to_owned() }
    }
}

/// Why a rule is none.
#[derive(Debug, thiserror::Error)]
pub enum RedactError {
    /// Nothing to look for, or two things.
    #[error("give either `pattern` or `preset`")]
    Either,
    /// Not a regular expression.
    #[error("pattern: {0}")]
    Pattern(#[source] Box<regex::Error>),
}

impl RedactConfig {
    /// Makes the rule.
    ///
    /// # Errors
    ///
    /// Where there is nothing to look for.
    pub fn build(&self) -> Result<Redact, RedactError> {
        let (pattern, is_one): (_, fn(&[u8]) -> bool) = match (&self.pattern, self.preset) {
            (Some(pattern), None) => (pattern.as_str(), |_| true),
            (None, Some(preset)) => (preset.pattern(), preset.check()),
            _ => return Err(RedactError::Either),
        };
        let pattern = Regex::new(pattern).map_err(|error| RedactError::Pattern(Box::new(error)))?;
        Ok(Redact { pattern, is_one, replacement: self.replacement.clone().into_bytes() })
    }
}

/// Replaces what matches a pattern.
#[derive(Clone, Debug)]
pub struct Redact {
    pattern: Regex,
    /// Whether something that matches is what was looked for.
    is_one: fn(&[u8]) -> bool,
    replacement: Vec<u8>,
}

impl Redact {
    /// Replaces it in a record, which goes on to stand for the same bytes of its stream.
    pub fn apply(&self, record: &mut Record) {
        let Content::Line { message, omitted, .. } = &mut record.content else { return };
        if let Some(redacted) = self.redacted(message) {
            *omitted += message.len().cast_signed() as i64 - redacted.len().cast_signed() as i64;
            *message = Bytes::from(redacted);
        }
        if let Some(attributes) = &mut record.attributes {
            attributes.fields.iter_mut().for_each(|(_, value)| self.apply_to_value(value));
        }
    }

    fn apply_to_value(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Some(redacted) = self.redacted(text.as_bytes()) {
                    *text = String::from_utf8_lossy(&redacted).into_owned();
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.apply_to_value(value)),
            Value::Object(members) => members.values_mut().for_each(|value| self.apply_to_value(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// `None` where there is nothing to replace.
    fn redacted(&self, text: &[u8]) -> Option<Vec<u8>> {
        // Most have nothing: a search without groups is much faster.
        self.pattern.find(text)?;
        let mut is_changed = false;
        let replace = |captures: &Captures| {
            let mut replacement = Vec::new();
            if (self.is_one)(&captures[0]) {
                is_changed = true;
                // A group of this name is kept, as there is no looking behind.
                replacement.extend_from_slice(captures.name("keep").map_or(&b""[..], |keep| keep.as_bytes()));
                captures.expand(&self.replacement, &mut replacement);
            } else {
                replacement.extend_from_slice(&captures[0]);
            }
            replacement
        };
        let redacted = self.pattern.replace_all(text, replace).into_owned();
        is_changed.then_some(redacted)
    }
}

#[cfg(test)]
mod tests;
