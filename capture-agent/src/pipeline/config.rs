//! What the file says about the way of a record to the sinks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::multiline::{MultilineConfig, MultilineError};
use super::parse::{Format, Parser};
use super::rate_limit::RateLimitConfig;
use super::redact::{RedactConfig, RedactError};
use super::{Pipeline, Reader};

/// What happens to records on their way to all sinks, in this order. What is not said does not happen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PipelineConfig {
    /// How many lines of a container are taken.
    pub rate_limit: Option<RateLimitConfig>,

    /// Lines that belong together become one record.
    pub multiline: Option<MultilineConfig>,

    /// Lines are read as one of these formats, the first that fits; what they say goes into the record's `fields`, its
    /// `level` and its `message`. A line that fits none stays as it is, and so does every line in the encodings `raw`
    /// and `text`.
    pub parse: Vec<Format>,

    /// Look for a level in the text of lines whose fields tell none.
    pub detect_level: bool,

    /// What is replaced, in messages and in the texts among their fields: one after the other.
    pub redact: Vec<RedactConfig>,

    /// Note which process wrote each line, as `pid`, `comm` and `uid`.
    pub writer: bool,
}

/// Why there is no pipeline.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// Of the section `multiline`.
    #[error("multiline: {0}")]
    Multiline(#[from] MultilineError),
    /// Of one of the rules in `redact`.
    #[error("redact[{index}]: {cause}")]
    Redact {
        /// Which one, counted from zero.
        index: usize,
        /// What is wrong with it.
        #[source]
        cause: RedactError,
    },
}

impl PipelineConfig {
    /// Makes the pipeline.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn build(&self) -> Result<Pipeline, PipelineError> {
        let rule = |(index, rule): (usize, &RedactConfig)| {
            rule.build().map_err(|cause| PipelineError::Redact { index, cause })
        };
        let is_read = !self.parse.is_empty() || self.detect_level;
        let reader = Reader {
            parser: is_read.then(|| Parser::new(self.parse.clone(), self.detect_level)),
            redact: self.redact.iter().enumerate().map(rule).collect::<Result<_, _>>()?,
        };
        Ok(Pipeline {
            rate_limit: self.rate_limit.as_ref().map(RateLimitConfig::build),
            multiline: self.multiline.as_ref().map(MultilineConfig::build).transpose()?,
            reader: reader.has_work().then_some(reader),
        })
    }
}
