//! At most so many lines a second of each container.
//!
//! A token bucket on the kernel's clock: what counts is when a line was written, not when the agent came to read it, so
//! that an agent that was away for a moment drops nothing that was within the limit.

#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use capture_common::Stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::containers::PerContainer;
use super::record::{Content, DropKind, Origin, Record};

/// Value of the `reason` label, and of a gap's, for lines beyond the limit.
pub const RATE_LIMIT: &str = "rate_limit";
/// How long the mark of what was dropped waits for a line that passes.
const MARK_DELAY: Duration = Duration::from_secs(1);
/// How often a container's drops are spoken of.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// How many lines of a container are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimitConfig {
    /// Lines a second of one container, both streams together. More are dropped, counted with the reason `rate_limit`,
    /// and marked as a gap where they are missing.
    #[schemars(range(min = 1))]
    pub lines_per_second: NonZeroU32,

    /// Lines that a container may write at once after it was quiet; as many as in a second, if not given.
    #[schemars(range(min = 1))]
    #[serde(default)]
    pub burst: Option<NonZeroU32>,
}

impl RateLimitConfig {
    /// Makes the stage.
    #[must_use]
    pub fn build(&self) -> RateLimit {
        let interval = (1_000_000_000 / u64::from(self.lines_per_second.get())).max(1);
        let depth = interval * u64::from(self.burst.unwrap_or(self.lines_per_second).get());
        RateLimit { limit: Limit { interval, depth }, containers: PerContainer::default(), deadline: None }
    }
}

/// Drops the lines of containers that write too many.
#[derive(Debug)]
pub struct RateLimit {
    limit: Limit,
    containers: PerContainer<Container>,
    /// No mark is to be given out before.
    deadline: Option<Instant>,
}

/// Both in ns.
#[derive(Clone, Copy, Debug)]
struct Limit {
    /// Of `CLOCK_MONOTONIC`, which one line takes.
    interval: u64,
    /// What may be taken in advance.
    depth: u64,
}

/// What is remembered of a container.
#[derive(Debug, Default)]
struct Container {
    /// `CLOCK_MONOTONIC`, in ns, when nothing is taken in advance any more.
    full_at: u64,
    streams: [Lines; Stream::ALL.len()],
    last_warning: Option<Instant>,
}

/// What is remembered of a stream.
#[derive(Debug, Default)]
struct Lines {
    /// Whether the line passes that goes on in the next record: all pieces do, or none.
    fate: Option<bool>,
    dropped: Option<Dropped>,
}

/// Lines that wait to be marked.
#[derive(Debug)]
struct Dropped {
    origin: Arc<Origin>,
    timestamp: i64,
    completed: u64,
    position: u64,
    bytes: u64,
    /// When the mark is given out although nothing passes.
    due: Instant,
}

impl RateLimit {
    /// Passes on what is within the limit, and marks what is not.
    pub fn process(&mut self, records: Vec<Record>, now: Instant, out: &mut Vec<Record>) {
        let mut records = records.into_iter().peekable();
        while let Some(record) = records.next() {
            let (origin, time) = (Arc::clone(&record.origin), record.completed);
            let container = self.containers.get_or_insert(&origin.container_id, Container::default, |container| {
                container.full_at <= time && container.is_settled()
            });
            container.push(record, self.limit, now, out);
            while let Some(record) = records.next_if(|record| Arc::ptr_eq(&record.origin, &origin)) {
                container.push(record, self.limit, now, out);
            }
            self.deadline = [self.deadline, container.due()].into_iter().flatten().min();
        }
    }

    /// Gives out marks that nothing has followed for a while.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Record>) {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        for container in self.containers.iter_mut() {
            if container.due().is_some_and(|due| due <= now) {
                container.mark(out);
            }
        }
        self.deadline = self.containers.iter_mut().filter_map(|container| container.due()).min();
    }

    /// When [`tick`](Self::tick) may have something to give out.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Gives out the marks of a container that is gone, and forgets it.
    pub fn forget(&mut self, container_id: &str, out: &mut Vec<Record>) {
        if let Some(mut container) = self.containers.remove(container_id) {
            container.mark(out);
        }
    }

    /// Gives out all marks.
    pub fn finish(&mut self, out: &mut Vec<Record>) {
        for container in self.containers.iter_mut() {
            container.mark(out);
        }
        self.deadline = None;
    }
}

impl Container {
    fn push(&mut self, record: Record, limit: Limit, now: Instant, out: &mut Vec<Record>) {
        let goes_on = match record.content {
            Content::Line { partial, .. } => partial,
            // The pipeline takes lines apart before.
            Content::Lines { .. } => false,
            // What the kernel side has lost is told in any case.
            Content::Gap { .. } => {
                self.streams[record.stream as usize].fate = None;
                self.mark(out);
                return out.push(record);
            }
        };
        let passes = match self.streams[record.stream as usize].fate.take() {
            Some(fate) => fate,
            None => self.take(record.completed, limit),
        };
        self.streams[record.stream as usize].fate = goes_on.then_some(passes);
        if passes {
            self.mark(out);
            out.push(record);
        } else {
            self.drop_record(&record, now);
        }
    }

    /// Takes a line's time in advance, if there is so much left.
    fn take(&mut self, time: u64, limit: Limit) -> bool {
        let full_at = self.full_at.max(time) + limit.interval;
        let passes = full_at - time <= limit.depth;
        if passes {
            self.full_at = full_at;
        }
        passes
    }

    fn drop_record(&mut self, record: &Record, now: Instant) {
        let Record { origin, stream, .. } = record;
        let bytes = record.stream_bytes();
        origin.account.streams[*stream as usize].dropped[DropKind::RateLimit as usize].fetch_add(bytes, Relaxed);
        let dropped = self.streams[*stream as usize].dropped.get_or_insert_with(|| Dropped {
            origin: Arc::clone(origin),
            timestamp: record.timestamp,
            completed: record.completed,
            position: record.position,
            bytes: 0,
            due: now + MARK_DELAY,
        });
        dropped.bytes += bytes;
        if self.last_warning.is_none_or(|last| now.saturating_duration_since(last) >= WARNING_INTERVAL) {
            self.last_warning = Some(now);
            tracing::warn!(
                container_id = %origin.container_id,
                container_name = origin.name(),
                "the container writes more lines than its rate limit: lines are dropped"
            );
        }
    }

    /// Marks what was dropped.
    fn mark(&mut self, out: &mut Vec<Record>) {
        let marks = Stream::ALL.map(|stream| {
            let Dropped { origin, timestamp, completed, position, bytes, .. } =
                self.streams[stream as usize].dropped.take()?;
            let content = Content::Gap { bytes, reason: Some(RATE_LIMIT) };
            Some(Record { origin, stream, timestamp, completed, position, content, attributes: None })
        });
        let first = out.len();
        out.extend(marks.into_iter().flatten());
        out[first..].sort_by_key(|mark| mark.timestamp);
    }

    fn due(&self) -> Option<Instant> {
        self.streams.iter().filter_map(|stream| stream.dropped.as_ref()).map(|dropped| dropped.due).min()
    }

    fn is_settled(&self) -> bool {
        self.streams.iter().all(|stream| stream.fate.is_none() && stream.dropped.is_none())
    }
}
