//! A line of the agent's output, read back.

use anyhow::{Context, Result};
use serde_json::Value;

/// One record, as `--format json` prints it.
#[derive(Clone, Debug)]
pub struct Record(Value);

impl Record {
    /// Reads one line of the agent's standard output.
    ///
    /// # Errors
    /// When it is not a JSON object.
    pub fn parse(line: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line:.200}"))?;
        value.is_object().then_some(Self(value)).with_context(|| format!("not an object: {line:.200}"))
    }

    /// The whole record.
    #[must_use]
    pub fn json(&self) -> &Value {
        &self.0
    }

    /// A field's text; empty where the field is missing, as it is for a name that is not known yet.
    #[must_use]
    pub fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }

    /// The line itself.
    #[must_use]
    pub fn message(&self) -> &str {
        self.text("message")
    }

    /// `stdout` or `stderr`.
    #[must_use]
    pub fn stream(&self) -> &str {
        self.text("stream")
    }

    /// The value of one of the container's labels.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.0["label"][key].as_str()
    }

    /// Whether it is of the container with this name.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.text("container_name") == name
    }

    /// Whether it is of the container with this id.
    #[must_use]
    pub fn is_of(&self, id: &str) -> bool {
        self.text("container_id") == id
    }

    /// Whether it stands for bytes that were lost.
    #[must_use]
    pub fn is_gap(&self) -> bool {
        !self.0["lost_bytes"].is_null()
    }
}
