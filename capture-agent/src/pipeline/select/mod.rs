//! Which containers are wanted, and which of their records.
//!
//! Patterns are looked at once for each [`Origin`]; a record costs a comparison of addresses.

mod config;
mod matcher;
mod own;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use capture_common::Stream;

pub use self::config::{FilterConfig, SelectConfig, SelectMode, SelectorConfig, StreamName};
use self::matcher::Matcher;
pub use self::matcher::PatternError;
pub use self::own::own_container;
use super::record::{Content, Level, Origin, Record};

/// Origins that are remembered. Beyond them all are looked at anew.
const REMEMBERED: usize = 8192;

/// Says of records whether they are wanted.
#[derive(Clone, Debug)]
pub struct Selection {
    matcher: Matcher,
    left_out: Option<Arc<str>>,
    streams: Streams,
    min_level: Option<Level>,
    /// By address. The weak reference keeps the address from being given to another origin.
    known: HashMap<usize, (Weak<Origin>, bool)>,
    /// Address and answer of the record before: most follow one of the same origin.
    last: Option<(usize, bool)>,
}

impl Selection {
    fn new(matcher: Matcher, streams: Streams, min_level: Option<Level>) -> Self {
        Self { matcher, left_out: None, streams, min_level, known: HashMap::new(), last: None }
    }

    /// Leaves out a container whatever else holds: the agent's own, see [`own_container`].
    #[must_use]
    pub fn leave_out(self, container_id: &str) -> Self {
        Self { left_out: Some(container_id.into()), ..self }
    }

    /// Whether a record is wanted.
    pub fn takes(&mut self, record: &Record) -> bool {
        self.streams.contain(record.stream) && self.takes_level(record) && self.takes_origin(&record.origin)
    }

    /// Whether a container is wanted; its records may still be not.
    #[must_use]
    pub fn takes_container(&self, origin: &Origin) -> bool {
        self.left_out.as_ref() != Some(&origin.container_id) && self.matcher.wants(origin.metadata.as_deref())
    }

    fn takes_level(&self, record: &Record) -> bool {
        let Some(least) = self.min_level else { return true };
        let level = record.attributes.as_ref().and_then(|attributes| attributes.level);
        matches!(record.content, Content::Gap { .. }) || level.is_none_or(|level| level >= least)
    }

    fn takes_origin(&mut self, origin: &Arc<Origin>) -> bool {
        let address = Arc::as_ptr(origin).addr();
        if let Some((last, answer)) = self.last
            && last == address
        {
            return answer;
        }
        let answer = match self.known.get(&address) {
            Some((_, answer)) => *answer,
            None => self.look_at(address, origin),
        };
        self.last = Some((address, answer));
        answer
    }

    fn look_at(&mut self, address: usize, origin: &Arc<Origin>) -> bool {
        if self.known.len() >= REMEMBERED {
            self.known.retain(|_, (origin, _)| origin.strong_count() > 0);
            if self.known.len() >= REMEMBERED / 2 {
                self.known.clear();
            }
        }
        let answer = self.takes_container(origin);
        self.known.insert(address, (Arc::downgrade(origin), answer));
        answer
    }
}

/// A set of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Streams([bool; Stream::ALL.len()]);

impl Default for Streams {
    fn default() -> Self {
        Self([true; Stream::ALL.len()])
    }
}

impl Streams {
    fn of(streams: impl Iterator<Item = Stream>) -> Self {
        let mut set = [false; Stream::ALL.len()];
        streams.for_each(|stream| set[stream as usize] = true);
        Self(set)
    }

    fn contain(self, stream: Stream) -> bool {
        self.0[stream as usize]
    }
}
