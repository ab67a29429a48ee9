//! What a sink is given at a time, and what is known of its records so far.

use std::sync::{Arc, Mutex, PoisonError};

use super::counters::{Counters, kind_of};
use super::fate::{Part, Sum, cost_of};
use crate::pipeline::record::Record;

/// Records on their way to a destination. They belong to the worker, until somebody abandons them in its place.
#[derive(Debug)]
pub(super) struct Load {
    records: Arc<Vec<Record>>,
    begin: usize,
    end: usize,
    books: Mutex<Option<Books>>,
}

/// What is still to be counted; gone once nobody is to count any more.
#[derive(Debug)]
struct Books {
    /// Where the records stand in the batches that they came in: each up to its end. Marks stand in none, and what comes
    /// from disk does not any more.
    parts: Vec<(usize, Option<Part>)>,
    settled: Vec<bool>,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Delivered,
    Dropped(&'static str),
}

impl Load {
    /// `parts`: each with the place after its last record, ascending.
    pub(super) fn new(records: Arc<Vec<Record>>, begin: usize, end: usize, parts: Vec<(usize, Option<Part>)>) -> Self {
        let settled = vec![false; end - begin];
        Self { records, begin, end, books: Mutex::new(Some(Books { parts, settled })) }
    }

    /// The records, in order.
    pub(super) fn records(&self) -> &[Record] {
        &self.records[self.begin..self.end]
    }

    /// What they take of the queue.
    pub(super) fn cost(&self) -> u64 {
        cost_of(self.records())
    }

    /// Counts what became of records, each once.
    pub(super) fn settle(&self, counters: &Counters, places: impl IntoIterator<Item = usize>, fate: Fate) {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(books) = &mut *books {
            books.settle(self.records(), counters, places, fate);
        }
    }

    /// Drops whatever is not settled, and counts nothing from then on. What it was.
    pub(super) fn abandon(&self, counters: &Counters, reason: &'static str) -> Sum {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut books) = books.take() else { return Sum::default() };
        books.settle(self.records(), counters, 0..self.records().len(), Fate::Dropped(reason))
    }

    /// How many records at the beginning are settled; `None` once nobody counts any more.
    pub(super) fn settled_prefix(&self) -> Option<usize> {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.as_ref().map(|books| books.settled.iter().take_while(|settled| **settled).count())
    }

    /// Lets go of the accounts of the batches; counts nothing from then on.
    pub(super) fn let_go(&self) {
        self.books.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Books {
    fn settle(
        &mut self,
        records: &[Record],
        counters: &Counters,
        places: impl IntoIterator<Item = usize>,
        fate: Fate,
    ) -> Sum {
        let mut sum = Sum::default();
        // Lines of neighbours, so that a container's account is locked once for them all.
        let mut run: Option<(&Record, u64)> = None;
        for place in places {
            if std::mem::replace(&mut self.settled[place], true) {
                continue;
            }
            let record = &records[place];
            sum.add(record);
            match fate {
                Fate::Delivered => {
                    let line = record.lines();
                    match &mut run {
                        Some((first, lines)) if Arc::ptr_eq(&first.origin, &record.origin) => *lines += line,
                        _ => count(run.replace((record, line)), counters),
                    }
                }
                Fate::Dropped(reason) => self.dropped(place, record, reason),
            }
        }
        count(run, counters);
        match fate {
            Fate::Delivered => counters.delivered.add(sum),
            Fate::Dropped(_) if sum == Sum::default() => {}
            Fate::Dropped(reason) => counters.drop_sum(sum, reason),
        }
        sum
    }

    fn dropped(&self, place: usize, record: &Record, reason: &'static str) {
        let index = self.parts.partition_point(|(end, _)| *end <= place);
        if let Some((_, Some(part))) = self.parts.get(index) {
            let begin = index.checked_sub(1).map_or(0, |before| self.parts[before].0);
            part.dropped(place - begin, record, kind_of(reason));
        }
    }
}

fn count(run: Option<(&Record, u64)>, counters: &Counters) {
    if let Some((first, lines)) = run.filter(|(_, lines)| *lines > 0) {
        first.origin.account.taken(&counters.name, lines);
    }
}
