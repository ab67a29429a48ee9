//! The client that a sink has: made when it is first needed, and anew when it will not do any more.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::producer::{Producer as _, PurgeConfig};

use super::KafkaError;
use super::producer::{Producer, Report, Setup};
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
            self.spend();
        }
        if std::mem::take(&mut self.is_spent)
            && let Some(spent) = self.producer.take()
        {
            self.inherit(&spent);
        }
        let stamps = self.setup.stamps();
        let producer = match self.producer.take() {
            Some(current) if stamps == self.stamps => current,
            Some(current) => match self.setup.create(&self.sink) {
                Ok(new) => {
                    self.inherit(&current);
                    new
                }
                Err(error) => {
                    tracing::warn!(sink = self.sink, %error, "the files that were read before are kept");
                    current
                }
            },
            None => self.setup.create(&self.sink)?,
        };
        // Also of a file that is no good: it is not looked at again before it changes.
        self.stamps = stamps;
        Ok(self.producer.insert(producer))
    }

    /// Keeps what was last wrong with the cluster as a client goes.
    fn inherit(&mut self, old: &Producer) {
        self.trouble = old.context().trouble().or(self.trouble.take());
    }

    /// It has given records up, and is not used any more.
    pub(super) fn spend(&mut self) {
        self.is_spent = true;
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
}

/// Waits for the reports of the records at these places, no longer than `timeout` and what librdkafka needs to notice that
/// it is over; then takes back those that the client still has. One without a report by then has timed out, too. Says as
/// well whether the client gave records up, and is spent.
pub(super) fn reports(producer: &Producer, mut places: HashSet<usize>, timeout: Duration) -> (Vec<Report>, bool) {
    let mut reports = Vec::with_capacity(places.len());
    let mut is_spent = false;
    let begun = Instant::now();
    let mut give_up_at = begun + timeout + SLACK;
    while !places.is_empty() {
        producer.poll(if begun.elapsed() < MOMENTS { POLL } else { LAZY_POLL });
        let mut is_overdue = false;
        for (place, outcome) in producer.context().take() {
            if places.remove(&place) {
                // What was taken back was, because its time was over: that is what went wrong.
                let outcome = outcome.map_err(|code| match code {
                    Code::PurgeQueue | Code::PurgeInflight => Code::MessageTimedOut,
                    code => code,
                });
                is_overdue |= outcome == Err(Code::MessageTimedOut);
                reports.push((place, outcome));
            }
        }
        let now = Instant::now();
        if !is_spent && (is_overdue || now >= give_up_at) && !places.is_empty() {
            // Nothing may overtake what was not delivered in its time. The next reports are about this.
            producer.purge(PurgeConfig::default().queue().inflight());
            is_spent = true;
            give_up_at = now + SLACK;
        } else if is_spent && now >= give_up_at {
            reports.extend(places.drain().map(|place| (place, Err(Code::MessageTimedOut))));
        } else {
            is_spent |= is_overdue;
        }
    }
    (reports, is_spent)
}
