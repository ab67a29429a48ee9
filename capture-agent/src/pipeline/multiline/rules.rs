//! Which lines belong together: what a preset or patterns say of a line.

use regex::bytes::Regex;

use super::config::Preset;
use super::presets::{self, State};

/// What a line is to the event before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing, and no other line belongs to it.
    Alone,
    /// Nothing, and others may belong to it.
    Start,
    /// A part.
    Continue,
    /// A part, if one comes after it: a line of a message, before the first frame of its stack.
    Maybe,
}

#[derive(Clone, Debug)]
pub(super) enum Rules {
    Preset(Preset),
    Patterns(Patterns),
}

#[derive(Clone, Debug)]
pub(super) enum Patterns {
    Start(Regex),
    Continuation(Regex),
    Both { start: Regex, continuation: Regex },
}

impl Rules {
    pub(super) fn judge(&self, state: &mut State, line: &[u8]) -> Verdict {
        match self {
            Self::Preset(preset) => presets::judge(*preset, state, line),
            Self::Patterns(patterns) => patterns.judge(line),
        }
    }
}

impl Patterns {
    fn judge(&self, line: &[u8]) -> Verdict {
        match self {
            Self::Start(start) if start.is_match(line) => Verdict::Start,
            Self::Start(_) => Verdict::Continue,
            Self::Continuation(continuation) if continuation.is_match(line) => Verdict::Continue,
            Self::Continuation(_) => Verdict::Start,
            Self::Both { start, .. } if start.is_match(line) => Verdict::Start,
            Self::Both { continuation, .. } if continuation.is_match(line) => Verdict::Continue,
            Self::Both { .. } => Verdict::Alone,
        }
    }
}
