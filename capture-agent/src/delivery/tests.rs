mod fairness;
mod late;
mod reload;
mod retry;
mod rousing;
mod shared;
mod shutdown;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use capture_common::Stream;

use super::*;
use crate::pipeline::record::{Content, Origin, Record};
use crate::sinks::delivery::{Receipt, Sink, SinkError};

const GRACE: Duration = Duration::from_secs(10);

/// A sink that does what a closure says.
pub(super) struct Scripted<F>(pub(super) F);

impl<F: FnMut(&[Record]) -> Result<Receipt, SinkError> + Send> Sink for Scripted<F> {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn write(&mut self, records: &[Record]) -> Result<Receipt, SinkError> {
        (self.0)(records)
    }

    fn check(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// What sinks took, in order.
#[derive(Clone, Default)]
pub(super) struct Taken(Arc<Mutex<Vec<Record>>>);

impl Taken {
    fn add(&self, records: &[Record]) {
        self.0.lock().unwrap().extend_from_slice(records);
    }

    fn all(&self) -> Vec<Record> {
        self.0.lock().unwrap().clone()
    }

    /// Numbers of the lines.
    fn numbers(&self) -> Vec<u64> {
        self.all().iter().filter(|record| matches!(record.content, Content::Line { .. })).map(number).collect()
    }

    /// A sink that takes everything.
    fn sink(&self) -> Box<dyn Sink> {
        let taken = self.clone();
        Box::new(Scripted(move |records: &[Record]| {
            taken.add(records);
            Ok(Receipt::default())
        }))
    }
}

pub(super) fn origin(id: &str) -> Arc<Origin> {
    Arc::new(Origin::new(id.into(), None, Arc::default()))
}

/// A line of a container, by number: the number is its position.
pub(super) fn line(origin: &Arc<Origin>, number: u64, length: usize) -> Record {
    let message = Bytes::from(vec![b'x'; length]);
    Record {
        origin: Arc::clone(origin),
        stream: Stream::Stdout,
        timestamp: 1_700_000_000_000_000_000 + number.cast_signed(),
        completed: number,
        position: number,
        content: Content::Line { message, newline: true, partial: false, omitted: 0 },
        attributes: None,
    }
}

pub(super) fn lines(origin: &Arc<Origin>, numbers: std::ops::Range<u64>) -> Vec<Record> {
    numbers.map(|number| line(origin, number, 10)).collect()
}

pub(super) fn number(record: &Record) -> u64 {
    record.position
}

fn retry(cause: &str) -> SinkError {
    SinkError::Retry { cause: cause.to_owned(), after: None }
}

/// Retries that do not keep a test waiting.
fn impatient() -> RetryPolicy {
    RetryPolicy { initial: Duration::from_millis(1), max: Duration::from_millis(2), ..RetryPolicy::default() }
}

fn spec(name: &str, sink: Box<dyn Sink>) -> SinkSpec {
    SinkSpec { retry: impatient(), ..SinkSpec::new(name, sink) }
}

fn fanout(specs: impl IntoIterator<Item = SinkSpec>) -> Fanout {
    let fanout = Fanout::new(GRACE);
    fanout.control().apply(specs.into_iter().map(Change::Add).collect()).unwrap();
    fanout
}

/// Hands records over, and nothing more for now.
fn hand_over(fanout: &Fanout, records: Vec<Record>, may_wait: impl Fn() -> bool) {
    fanout.deliver(records, may_wait);
    fanout.pause(false);
}

fn totals(fanout: &Fanout, name: &str) -> SinkTotals {
    fanout.control().status().into_iter().find(|sink| *sink.name == *name).unwrap().totals
}

/// Everything that was handed to the sink is in one of its counts.
#[track_caller]
fn assert_balanced(totals: &SinkTotals) {
    let dropped: u64 = totals.dropped.values().map(|dropped| dropped.records).sum();
    let bytes: u64 = totals.dropped.values().map(|dropped| dropped.bytes).sum();
    let (submitted, recovered) = (totals.submitted, totals.recovered);
    assert_eq!(
        submitted.records + recovered.records,
        totals.filtered.records + totals.delivered.records + dropped,
        "{totals:?}"
    );
    if recovered.records == 0 {
        assert_eq!(submitted.bytes, totals.filtered.bytes + totals.delivered.bytes + bytes, "{totals:?}");
    }
}

fn dropped(totals: &SinkTotals) -> BTreeMap<&'static str, u64> {
    let dropped = totals.dropped.iter().filter(|(_, dropped)| dropped.records > 0);
    dropped.map(|(reason, dropped)| (*reason, dropped.records)).collect()
}

/// A sink that waits for a word before each answer, and says before that it was asked.
fn gated(taken: &Taken) -> (Sender<()>, Receiver<()>, Box<dyn Sink>) {
    let (go, may_go) = channel();
    let (asks, asked) = channel();
    let (taken, may_go) = (taken.clone(), Mutex::new(may_go));
    let sink = Scripted(move |records: &[Record]| {
        let _ = asks.send(());
        let _ = may_go.lock().unwrap().recv();
        taken.add(records);
        Ok(Receipt::default())
    });
    (go, asked, Box::new(sink))
}

#[track_caller]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + GRACE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} within {GRACE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
