//! The client that a sink has: made when it is first needed, and anew when it will not do any more.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::producer::{Producer as _, PurgeConfig};

use super::producer::{Producer, Report, Setup};
use super::{KafkaError, reports_of};
use crate::config::reload::Stamp;

/// How often reports are looked for: a poll of the client's takes all of its time.
const POLL: Duration = Duration::from_millis(2);
/// The same after the first moments, in which a cluster that is well has answered.
const LAZY_POLL: Duration = Duration::from_millis(20);
const MOMENTS: Duration = Duration::from_millis(200);
/// How much longer than the timeout reports are waited for: librdkafka looks for overdue records each second.
const SLACK: Duration = Duration::from_secs(3);

/// The client of one sink. Until something is asked of it there is none: a sink that is only looked at, as `validate` does,
/// connects to nothing.
pub(super) struct Client {
    sink: String,
    setup: Setup,
    /// Of the files that `producer` was made with.
    stamps: Vec<Option<Stamp>>,
    producer: Option<Producer>,
    /// Whether it has given records up: the numbers that it gives to records have a gap then, and brokers that see one
    /// refuse what follows.
    is_spent: bool,
    /// What was last wrong with the cluster, from one client to the next: each tells the same only after a while.
    trouble: Option<String>,
}

impl Client {
    pub(super) fn new(sink: &str, setup: Setup) -> Self {
        Self { sink: sink.to_owned(), setup, stamps: Vec::new(), producer: None, is_spent: false, trouble: None }
    }

    /// As configured; for messages.
    pub(super) fn brokers(&self) -> &str {
        &self.setup.brokers
    }

    /// Sees to it that there is a client that produces, made with the files as they are now. One that does is kept where a
    /// file is no good any more.
    pub(super) fn prepare(&mut self) -> Result<&Producer, KafkaError> {
        if let Some((code, reason)) = self.producer.as_ref().and_then(|producer| producer.client().fatal_error()) {
            tracing::warn!(sink = self.sink, ?code, reason, "the Kafka client cannot go on and is started anew");
            self.is_spent = true;
        }
        if self.is_spent {
            self.retire();
        }
        let stamps = self.setup.stamps();
        if self.producer.is_none() || stamps != self.stamps {
            match self.setup.create(&self.sink) {
                Ok(producer) => {
                    self.retire();
                    self.producer = Some(producer);
                }
                Err(error) if self.producer.is_some() => {
                    tracing::warn!(sink = self.sink, %error, "the files that were read before are kept");
                }
                Err(error) => return Err(error),
            }
            // Also of a file that is no good: it is not looked at again before it changes.
            self.stamps = stamps;
        }
        self.producer.as_ref().ok_or_else(|| KafkaError::Client("there is none".to_owned()))
    }

    fn retire(&mut self) {
        if let Some(producer) = self.producer.take() {
            self.trouble = producer.context().trouble().or(self.trouble.take());
        }
        self.is_spent = false;
    }

    pub(super) fn is_spent(&self) -> bool {
        self.is_spent
    }

    /// What was last wrong with the cluster, or the way to it.
    pub(super) fn trouble(&self) -> Option<String> {
        self.producer.as_ref().and_then(|producer| producer.context().trouble()).or_else(|| self.trouble.clone())
    }

    /// For when all is well again.
    pub(super) fn forget_trouble(&mut self) {
        self.trouble = None;
        if let Some(producer) = &self.producer {
            producer.context().forget_trouble();
        }
    }

    /// Waits for the reports of the records at these places, no longer than `timeout` and what librdkafka needs to notice
    /// that it is over; then takes back those that the client still has. One without a report by then has timed out, too.
    pub(super) fn reports(&mut self, mut places: HashSet<usize>, timeout: Duration) -> Vec<Report> {
        let mut reports = Vec::with_capacity(places.len());
        let Some(producer) = &self.producer else { return reports_of(places, Code::State) };
        let begun = Instant::now();
        let mut give_up_at = begun + timeout + SLACK;
        while !places.is_empty() {
            producer.poll(if begun.elapsed() < MOMENTS { POLL } else { LAZY_POLL });
            let mut is_overdue = false;
            for (place, outcome) in producer.context().take() {
                if places.remove(&place) {
                    is_overdue |= outcome == Err(Code::MessageTimedOut);
                    reports.push((place, outcome));
                }
            }
            let now = Instant::now();
            if !self.is_spent && (is_overdue || now >= give_up_at) && !places.is_empty() {
                // Nothing may overtake what was not delivered in its time. The next reports are about this.
                producer.purge(PurgeConfig::default().queue().inflight());
                self.is_spent = true;
                give_up_at = now + SLACK;
            } else if self.is_spent && now >= give_up_at {
                reports.extend(reports_of(std::mem::take(&mut places), Code::MessageTimedOut));
            } else {
                self.is_spent |= is_overdue;
            }
        }
        reports
    }
}
