//! Events of several lines, such as stack traces, as one record.
//!
//! A line that may begin an event is held until the next line of its stream shows whether the event goes on, at most for
//! the timeout. Meanwhile other records of the container wait behind it, so that its two streams keep the kernel's
//! order; those of other containers do not. Which lines those are, a preset knows or patterns of one's own.

mod config;
mod container;
mod group;
mod presets;
mod rules;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::config::{MultilineConfig, MultilineError, Preset};
use self::container::Container;
use self::rules::Rules;
use super::containers::PerContainer;
use super::record::Record;

/// What a [`MultilineConfig`] says, checked.
#[derive(Debug)]
struct Settings {
    /// What holds for containers that say nothing.
    rules: Option<Rules>,
    timeout: Duration,
    /// Of one event; and of what waits behind one.
    max_bytes: u64,
    label: String,
}

/// Makes one record of lines that belong together.
#[derive(Debug)]
pub struct Multiline {
    settings: Settings,
    containers: PerContainer<Container>,
    /// Nothing is to be given out before.
    deadline: Option<Instant>,
}

impl Multiline {
    fn new(settings: Settings) -> Self {
        Self { settings, containers: PerContainer::default(), deadline: None }
    }

    /// Takes records as the streams go on, and gives out those that are complete.
    pub fn process(&mut self, records: Vec<Record>, now: Instant, out: &mut Vec<Record>) {
        let settings = &self.settings;
        let mut records = records.into_iter().peekable();
        while let Some(record) = records.next() {
            let origin = Arc::clone(&record.origin);
            let container = self.containers.get_or_insert(&origin.container_id, Container::default, Container::is_idle);
            container.choose(&origin, settings, out);
            container.push(record, settings, now, out);
            while let Some(record) = records.next_if(|record| Arc::ptr_eq(&record.origin, &origin)) {
                container.push(record, settings, now, out);
            }
            container.detach();
            self.deadline = [self.deadline, container.deadline(settings)].into_iter().flatten().min();
        }
    }

    /// Gives out what has waited for its timeout.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Record>) {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        let settings = &self.settings;
        let mut next: Option<Instant> = None;
        for container in self.containers.iter_mut() {
            container.expire(settings, now, out);
            next = [next, container.deadline(settings)].into_iter().flatten().min();
        }
        self.deadline = next;
    }

    /// When [`tick`](Self::tick) may have something to give out.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Gives out what is held of a container that is gone, and forgets it.
    pub fn forget(&mut self, container_id: &str, out: &mut Vec<Record>) {
        if let Some(mut container) = self.containers.remove(container_id) {
            container.finish(out);
        }
    }

    /// Gives out everything.
    pub fn finish(&mut self, out: &mut Vec<Record>) {
        for container in self.containers.iter_mut() {
            container.finish(out);
        }
        self.deadline = None;
    }
}
