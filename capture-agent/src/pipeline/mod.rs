//! What happens to a line between its session and the sinks.
//!
//! A [`Pipeline`] is owned by the thread that reads the ring buffer: it takes what sessions made, limits it, joins lines,
//! reads and redacts them, and gives it to all sinks. Which of it a sink gets is its own [`select::Selection`]'s.

mod config;
mod containers;
pub mod multiline;
pub mod parse;
pub mod rate_limit;
pub mod record;
pub mod redact;
pub mod select;
pub mod shaping;

#[cfg(test)]
mod tests;

use std::time::Instant;

pub use self::config::{PipelineConfig, PipelineError};
use self::multiline::Multiline;
use self::parse::Parser;
use self::rate_limit::RateLimit;
use self::record::Record;
use self::redact::Redact;

/// The way of records to the sinks. What was not asked for is not there, and costs nothing.
#[derive(Debug)]
pub struct Pipeline {
    rate_limit: Option<RateLimit>,
    multiline: Option<Multiline>,
    reader: Option<Reader>,
}

impl Pipeline {
    /// Takes records in the kernel's order, and appends to `out` what goes on; the rest is held, or counted.
    pub fn process(&mut self, records: Vec<Record>, now: Instant, out: &mut Vec<Record>) {
        let start = out.len();
        let records = if self.has_stages() { apart(records) } else { records };
        let records = self.limit(records, |stage, records, limited| stage.process(records, now, limited));
        self.join(records, out, |stage, records, out| stage.process(records, now, out));
        self.read(&mut out[start..]);
    }

    /// Appends what has been held for long enough. Due at [`next_deadline`](Self::next_deadline).
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Record>) {
        let start = out.len();
        let marks = self.limit(Vec::new(), |stage, _, marks| stage.tick(now, marks));
        self.join(marks, out, |stage, marks, out| {
            stage.process(marks, now, out);
            stage.tick(now, out);
        });
        self.read(&mut out[start..]);
    }

    /// When something is held for long enough; `None` while nothing is. It may be that nothing is by then.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let rate_limit = self.rate_limit.as_ref().and_then(RateLimit::next_deadline);
        let multiline = self.multiline.as_ref().and_then(Multiline::next_deadline);
        [rate_limit, multiline].into_iter().flatten().min()
    }

    /// Appends what is held of a container that is gone, and forgets it. For one whose last record was processed; one
    /// that is not forgotten so is by and by.
    pub fn forget(&mut self, container_id: &str, now: Instant, out: &mut Vec<Record>) {
        let start = out.len();
        let marks = self.limit(Vec::new(), |stage, _, marks| stage.forget(container_id, marks));
        self.join(marks, out, |stage, marks, out| {
            stage.process(marks, now, out);
            stage.forget(container_id, out);
        });
        self.read(&mut out[start..]);
    }

    /// Appends everything that is held.
    pub fn finish(&mut self, now: Instant, out: &mut Vec<Record>) {
        let start = out.len();
        let marks = self.limit(Vec::new(), |stage, _, marks| stage.finish(marks));
        self.join(marks, out, |stage, marks, out| {
            stage.process(marks, now, out);
            stage.finish(out);
        });
        self.read(&mut out[start..]);
    }

    fn has_stages(&self) -> bool {
        self.rate_limit.is_some() || self.multiline.is_some() || self.reader.is_some()
    }

    /// What the rate limit makes of records; without one, these.
    fn limit(
        &mut self,
        records: Vec<Record>,
        stage: impl FnOnce(&mut RateLimit, Vec<Record>, &mut Vec<Record>),
    ) -> Vec<Record> {
        let Some(rate_limit) = &mut self.rate_limit else { return records };
        let mut limited = Vec::with_capacity(records.len());
        stage(rate_limit, records, &mut limited);
        limited
    }

    fn join(
        &mut self,
        mut records: Vec<Record>,
        out: &mut Vec<Record>,
        stage: impl FnOnce(&mut Multiline, Vec<Record>, &mut Vec<Record>),
    ) {
        match &mut self.multiline {
            Some(multiline) => stage(multiline, records, out),
            // No record is moved.
            None if out.is_empty() => *out = records,
            None => out.append(&mut records),
        }
    }

    fn read(&self, records: &mut [Record]) {
        if let Some(reader) = &self.reader {
            for record in records {
                reader.read(record);
            }
        }
    }
}

/// Each line as a record of its own: what is said of one is not said of the others.
#[must_use]
pub fn apart(records: Vec<Record>) -> Vec<Record> {
    if records.iter().any(|record| record.lines() > 1) {
        records.iter().flat_map(Record::lines_apart).collect()
    } else {
        records
    }
}

/// What happens to each record by itself.
#[derive(Debug)]
struct Reader {
    parser: Option<Parser>,
    redact: Vec<Redact>,
}

impl Reader {
    fn has_work(&self) -> bool {
        self.parser.is_some() || !self.redact.is_empty()
    }

    fn read(&self, record: &mut Record) {
        if let Some(parser) = &self.parser {
            parser.read(record);
        }
        // Last: what a text says in an escaped form is found in the field that was made of it.
        self.redact.iter().for_each(|rule| rule.apply(record));
    }
}
