//! One load, until every record of it is delivered or set aside.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::counters::reason;
use super::load::{Fate, Load};
use super::piece::Piece;
use super::worker::{Worker, is_time};
use crate::pipeline::record::Record;
use crate::sinks::delivery::{Receipt, Refused, SinkError};

/// What follows a failure.
enum Next {
    Again,
    GiveUp,
    Stop,
}

impl Worker {
    /// Delivers a load, in order. Whether every record is settled: not where the worker is stopped before.
    pub(super) fn deliver(&mut self, load: &Load) -> bool {
        let mut splits = self.outfit.retry.max_splits;
        let mut failing_since = None;
        // The next one is the last.
        let mut pieces = vec![Piece::Range(0..load.records().len())];
        while let Some(piece) = pieces.pop() {
            self.follow_orders();
            if self.closed {
                self.close(load, "");
                return true;
            }
            let answer = self.write(&piece.records(load.records()));
            if answer.is_ok() {
                failing_since = None;
            }
            let failure = match answer {
                Ok(receipt) => {
                    self.succeeded();
                    self.receive(load, &piece, &receipt.refused, "the destination has refused it");
                    self.settle(load, piece.places());
                    continue;
                }
                Err(SinkError::Partial { cause, after, left, refused }) => {
                    let left: Vec<_> = left.into_iter().filter(|index| *index < piece.len()).collect();
                    self.receive(load, &piece, &refused, &cause);
                    let is_left = |index: &usize| left.binary_search(index).is_ok();
                    let taken = (0..piece.len()).filter(|index| !is_left(index));
                    self.settle(load, taken.map(|index| piece.place(index)));
                    if left.is_empty() {
                        continue;
                    }
                    pieces.push(piece.pick(&left));
                    (cause, after)
                }
                Err(SinkError::Retry { cause, after }) => {
                    pieces.push(piece);
                    (cause, after)
                }
                Err(SinkError::Refused { cause, reason }) => {
                    // It has answered.
                    self.succeeded();
                    if piece.len() > 1 && splits > 0 {
                        splits -= 1;
                        let (first, second) = piece.halves();
                        pieces.extend([second, first]);
                    } else {
                        self.set_aside(load, &piece.places().collect::<Vec<_>>(), reason, &cause);
                    }
                    continue;
                }
                Err(SinkError::Closed { cause }) => {
                    self.close(load, &cause);
                    return true;
                }
            };
            let (cause, after) = failure;
            match self.pause(&cause, after, *failing_since.get_or_insert_with(Instant::now)) {
                Next::Again => {}
                Next::Stop => return false,
                Next::GiveUp => {
                    for piece in pieces.drain(..).rev() {
                        self.give_up(load, &piece.places().collect::<Vec<_>>(), reason::GAVE_UP);
                    }
                }
            }
        }
        true
    }

    fn write(&mut self, records: &[Record]) -> Result<Receipt, SinkError> {
        let begun = Instant::now();
        // A record that a sink cannot cope with costs itself, not the sink.
        let answer = catch_unwind(AssertUnwindSafe(|| self.outfit.sink.write(records)));
        self.counters.observe_request(begun.elapsed());
        let panicked = |_| SinkError::Refused { cause: "the sink panicked".to_owned(), reason: reason::PANIC };
        answer.map_err(panicked).flatten()
    }

    fn settle(&self, load: &Load, places: impl IntoIterator<Item = usize>) {
        load.settle(&self.counters, places, Fate::Delivered);
    }

    /// Sets those aside that the destination has refused one by one.
    fn receive(&mut self, load: &Load, piece: &Piece, refused: &[Refused], cause: &str) {
        let mut by_reason: BTreeMap<&'static str, Vec<usize>> = BTreeMap::new();
        for refusal in refused.iter().filter(|refusal| refusal.index < piece.len()) {
            by_reason.entry(refusal.reason).or_default().push(piece.place(refusal.index));
        }
        for (reason, places) in by_reason {
            self.set_aside(load, &places, reason, cause);
        }
    }

    /// Drops what the destination will never take.
    fn set_aside(&mut self, load: &Load, places: &[usize], reason: &'static str, cause: &str) {
        load.settle(&self.counters, places.iter().copied(), Fate::Dropped(reason));
        let records = places.iter().map(|place| &load.records()[*place]);
        if let Some(dead_letters) = &mut self.dead_letters {
            dead_letters.write(&self.counters.name, reason, cause, records);
        }
        if is_time(&mut self.last_refusal_warning) {
            let (sink, records) = (&*self.counters.name, places.len());
            tracing::warn!(sink, records, reason, error = cause, "the destination refuses records: they are set aside");
        }
    }

    /// Waits before the next request.
    fn pause(&mut self, cause: &str, after: Option<Duration>, since: Instant) -> Next {
        self.failed(cause);
        let now = Instant::now();
        let give_up_at = self.outfit.retry.give_up_after.map(|after| since + after);
        if give_up_at.is_some_and(|at| now >= at) {
            return Next::GiveUp;
        }
        let until = now + self.backoff.next(&self.outfit.retry, after);
        let until = give_up_at.map_or(until, |at| until.min(at));
        if !self.orders.sleep(until, self.source.patience()) {
            return Next::Stop;
        }
        self.count_retry();
        Next::Again
    }
}
