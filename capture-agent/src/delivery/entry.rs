//! Records that wait together.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use super::counters::{Counters, kind_of};
use super::fate::{Part, Sum, cost, cost_of};
use super::load::Load;
use crate::pipeline::record::{Content, Record};

/// Records of one batch of the reader, or marks of gaps.
#[derive(Debug)]
pub(super) struct Entry {
    records: Arc<Vec<Record>>,
    begin: usize,
    end: usize,
    /// `None` for marks, which are in nobody's account.
    part: Option<Part>,
    sum: Sum,
    cost: u64,
    pub(super) since: Instant,
}

impl Entry {
    /// All of `records`, which come to `sum` and take so much of the queue.
    pub(super) fn new(records: Arc<Vec<Record>>, part: Part, sum: Sum, cost: u64) -> Self {
        let end = records.len();
        Self { records, begin: 0, end, part: Some(part), sum, cost, since: Instant::now() }
    }

    pub(super) fn of_marks(marks: Vec<Record>) -> Self {
        let (end, sum, cost) = (marks.len(), Sum::default(), cost_of(&marks));
        Self { records: Arc::new(marks), begin: 0, end, part: None, sum, cost, since: Instant::now() }
    }

    fn records(&self) -> &[Record] {
        &self.records[self.begin..self.end]
    }

    pub(super) fn first(&self) -> Option<&Record> {
        self.records().first()
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.begin
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn sum(&self) -> Sum {
        self.sum
    }

    /// What it takes of the queue.
    pub(super) fn cost(&self) -> u64 {
        self.cost
    }

    /// How many records from the first on have no more than so many bytes, and are no more than so many.
    pub(super) fn fit(&self, max_bytes: u64, max_records: usize) -> usize {
        if self.sum.bytes <= max_bytes && self.len() <= max_records {
            return self.len();
        }
        let mut bytes = 0;
        let fits = |record: &&Record| {
            bytes += record.stream_bytes();
            bytes <= max_bytes
        };
        self.records().iter().take(max_records).take_while(fits).count()
    }

    /// All from the given one on.
    pub(super) fn split_off(&mut self, first: usize) -> Self {
        let begin = self.begin + first;
        let (sum, cost) = (Sum::of(&self.records[begin..self.end]), cost_of(&self.records[begin..self.end]));
        let rest = Self {
            records: Arc::clone(&self.records),
            begin,
            end: self.end,
            part: self.part.as_ref().map(|part| part.from(first)),
            sum,
            cost,
            since: self.since,
        };
        self.end = begin;
        self.cost -= cost;
        self.sum = Sum { lines: self.sum.lines - sum.lines, bytes: self.sum.bytes - sum.bytes };
        rest
    }

    /// Drops the records that are chosen, and counts them. How many.
    pub(super) fn drop_where(
        &mut self,
        counters: &Counters,
        reason: &'static str,
        mut is_dropped: impl FnMut(&Record) -> bool,
    ) -> usize {
        let (mut sum, mut freed) = (Sum::default(), 0);
        let mut kept = Vec::with_capacity(self.len());
        for (place, record) in self.records().iter().enumerate() {
            if is_dropped(record) {
                sum.add(record);
                freed += cost(record);
                if let Some(part) = &self.part {
                    part.dropped(place, record, kind_of(reason));
                }
            } else {
                kept.push(place as u32);
            }
        }
        let dropped = self.len() - kept.len();
        if dropped > 0 {
            counters.drop_sum(sum, reason);
            self.part = self.part.as_ref().map(|part| part.pick(&kept));
            self.records = Arc::new(pick(self.records(), &kept));
            (self.begin, self.end) = (0, kept.len());
            self.cost -= freed;
            self.sum = Sum { lines: self.sum.lines - sum.lines, bytes: self.sum.bytes - sum.bytes };
        }
        dropped
    }

    pub(super) fn drop_all(mut self, counters: &Counters, reason: &'static str) -> Sum {
        let sum = self.sum;
        self.drop_where(counters, reason, |_| true);
        sum
    }

    /// One load of several entries. A single one is taken as it is; records that nobody shares are moved.
    pub(super) fn join(mut entries: Vec<Self>) -> Load {
        if entries.len() == 1
            && let Some(entry) = entries.pop()
        {
            let parts = vec![(entry.len(), entry.part)];
            return Load::new(entry.records, entry.begin, entry.end, parts);
        }
        let mut records = Vec::with_capacity(entries.iter().map(Self::len).sum());
        let mut parts = Vec::with_capacity(entries.len());
        for entry in entries {
            match Arc::try_unwrap(entry.records) {
                Ok(mut own) => records.extend(own.drain(entry.begin..entry.end)),
                Err(shared) => records.extend_from_slice(&shared[entry.begin..entry.end]),
            }
            parts.push((records.len(), entry.part));
        }
        let len = records.len();
        Load::new(Arc::new(records), 0, len, parts)
    }
}

/// Copies of the chosen records. Their payload is copied as well where it is the lesser part of what it lies in, so that
/// what a queue counts is what it keeps in memory.
pub(super) fn pick(records: &[Record], places: &[u32]) -> Vec<Record> {
    let chosen = || places.iter().map(|place| &records[*place as usize]);
    let bytes = chosen().map(Record::stream_bytes).sum::<u64>();
    if 2 * bytes >= records.iter().map(Record::stream_bytes).sum() {
        return chosen().cloned().collect();
    }
    let mut payload = BytesMut::with_capacity(bytes as usize);
    let copies = chosen().map(|record| {
        let mut record = record.clone();
        if let Content::Line { message, .. } | Content::Lines { data: message, .. } = &mut record.content {
            payload.extend_from_slice(message);
            *message = payload.split().freeze();
        }
        record
    });
    copies.collect()
}
