//! A sink's thread: takes what waits, gives it to the sink, and sees to what the sink answers.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::counters::{Counters, reason};
use super::dead_letters::DeadLetters;
use super::disk::DiskReader;
use super::health::Health;
use super::load::{Fate, Load};
use super::orders::{Orders, Outfit, Stop};
use super::queue::{Queue, Taken};
use crate::pipeline::record::Record;

/// How often a sink is told the time.
const TICK: Duration = Duration::from_secs(1);
/// How often a destination that is not asked for anything is asked how it is.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// How often while it fails.
const FAILING_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How often one thing is spoken of.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Where a worker's records come from.
pub(super) enum Source {
    Memory(Arc<Queue>),
    Disk(Box<DiskReader>),
}

impl Source {
    fn take(&mut self, outfit: &Outfit) -> Taken {
        match self {
            Self::Memory(queue) => queue.take(&outfit.limits, TICK),
            Self::Disk(reader) => reader.take(&outfit.limits, TICK),
        }
    }

    fn done(&mut self, load: &Load) {
        match self {
            Self::Memory(queue) => queue.done(load),
            Self::Disk(reader) => reader.done(load),
        }
    }

    fn mark_missing<'a>(&mut self, records: impl IntoIterator<Item = &'a Record>, reason: &'static str) {
        match self {
            Self::Memory(queue) => queue.mark_missing(records, reason),
            Self::Disk(reader) => reader.mark_missing(records, reason),
        }
    }

    /// What ends the wait for a destination that fails.
    pub(super) fn patience(&self) -> Stop {
        match self {
            Self::Memory(_) => Stop::Now,
            // What is on disk is safe there.
            Self::Disk(_) => Stop::Drained,
        }
    }

    /// The worker ends before everything is delivered.
    fn leave(&mut self) {
        if let Self::Disk(reader) = self {
            reader.save();
        }
    }
}

/// What a sink's thread has.
pub(super) struct Worker {
    pub(super) counters: Arc<Counters>,
    pub(super) orders: Arc<Orders>,
    pub(super) outfit: Outfit,
    pub(super) source: Source,
    pub(super) backoff: Backoff,
    pub(super) dead_letters: Option<DeadLetters>,
    /// The destination is gone for good.
    pub(super) closed: bool,
    pub(super) last_failure_warning: Option<Instant>,
    pub(super) last_refusal_warning: Option<Instant>,
    asked: Option<Instant>,
    ticked: Instant,
}

impl Worker {
    pub(super) fn new(counters: Arc<Counters>, orders: Arc<Orders>, outfit: Outfit, source: Source) -> Self {
        let dead_letters = outfit.retry.dead_letters.clone().map(DeadLetters::new);
        Self {
            counters,
            orders,
            outfit,
            source,
            backoff: Backoff::new(),
            dead_letters,
            closed: false,
            last_failure_warning: None,
            last_refusal_warning: None,
            asked: None,
            ticked: Instant::now(),
        }
    }

    /// Runs until nothing comes any more, or it is stopped.
    pub(super) fn run(mut self) {
        loop {
            self.follow_orders();
            if self.orders.is_to_stop() == Stop::Now {
                return self.source.leave();
            }
            match self.source.take(&self.outfit) {
                Taken::Load(load) => {
                    let is_settled = self.deliver(&load);
                    self.asked = Some(Instant::now());
                    self.source.done(&load);
                    if !is_settled {
                        return self.source.leave();
                    }
                }
                Taken::Idle => self.check(),
                Taken::Nudged => {}
                Taken::End => return,
            }
            if self.ticked.elapsed() >= TICK {
                self.ticked = Instant::now();
                self.outfit.sink.tick();
            }
        }
    }

    pub(super) fn follow_orders(&mut self) {
        if let Some(outfit) = self.orders.take_outfit() {
            self.dead_letters = outfit.retry.dead_letters.clone().map(DeadLetters::new);
            self.outfit = outfit;
            self.backoff.reset();
            self.closed = false;
            self.asked = None;
            self.health(Health::succeeded);
        }
        if self.orders.take_reopen() {
            self.outfit.sink.reopen();
        }
    }

    /// Asks a destination how it is that has not been asked for anything for a while.
    fn check(&mut self) {
        let is_failing = self.health(|health| health.is_failing());
        let interval = if is_failing { FAILING_CHECK_INTERVAL } else { CHECK_INTERVAL };
        if self.closed || self.asked.is_some_and(|asked| asked.elapsed() < interval) {
            return;
        }
        let answer = self.outfit.sink.check();
        self.asked = Some(Instant::now());
        match answer {
            Ok(()) => self.succeeded(),
            Err(error) => self.failed(&error.to_string()),
        }
    }

    pub(super) fn health<T>(&self, f: impl FnOnce(&mut Health) -> T) -> T {
        f(&mut self.counters.health.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn succeeded(&mut self) {
        self.backoff.reset();
        if self.health(Health::succeeded) && self.last_failure_warning.is_some() {
            self.last_failure_warning = None;
            tracing::info!(sink = &*self.counters.name, "the destination answers again");
        }
    }

    pub(super) fn failed(&mut self, cause: &str) {
        self.health(|health| health.failed(cause));
        if is_time(&mut self.last_failure_warning) {
            tracing::warn!(sink = &*self.counters.name, error = cause, "the destination fails; its records wait");
        }
    }

    /// Drops records that cannot be delivered any more, with marks where they are missing.
    pub(super) fn give_up(&mut self, load: &Load, places: &[usize], reason: &'static str) {
        load.settle(&self.counters, places.iter().copied(), Fate::Dropped(reason));
        self.source.mark_missing(places.iter().map(|place| &load.records()[*place]), reason);
    }

    /// The destination is gone for good: whatever comes is dropped.
    pub(super) fn close(&mut self, load: &Load, cause: &str) {
        load.settle(&self.counters, 0..load.records().len(), Fate::Dropped(reason::CLOSED));
        if !self.closed {
            self.closed = true;
            self.health(|health| health.closed(cause));
            tracing::warn!(sink = &*self.counters.name, error = cause, "the destination is gone: records are dropped");
            if let Some(token) = &self.outfit.closed {
                token.cancel();
            }
        }
    }

    pub(super) fn count_retry(&self) {
        self.counters.retries.fetch_add(1, Relaxed);
    }
}

/// Whether it is time to speak of something again.
pub(super) fn is_time(last: &mut Option<Instant>) -> bool {
    let is_time = last.is_none_or(|last| last.elapsed() >= WARNING_INTERVAL);
    if is_time {
        *last = Some(Instant::now());
    }
    is_time
}
