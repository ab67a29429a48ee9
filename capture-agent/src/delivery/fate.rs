//! What becomes of a batch over all sinks, counted once in the accounts of its containers.
//!
//! A record is delivered when every sink that was to have it is done with it and none has dropped it. So the sum of what
//! was delivered, filtered and dropped is what was captured, whatever the number of sinks.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

use crate::pipeline::record::{Account, DropKind, Record};

/// What a record costs beyond its bytes, in the count of a queue.
const RECORD_BYTES: u64 = 128;

/// What a record takes of a queue, in bytes. All that queues count comes from here.
pub(super) fn cost(record: &Record) -> u64 {
    record.stream_bytes() + RECORD_BYTES
}

/// What records take of a queue together.
pub(super) fn cost_of<'a>(records: impl IntoIterator<Item = &'a Record>) -> u64 {
    records.into_iter().map(cost).sum()
}

/// Lines among records (marks of gaps are none), and bytes of output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) lines: u64,
    pub(super) bytes: u64,
}

impl Sum {
    pub(super) fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut sum = Self::default();
        for record in records {
            sum.add(record);
        }
        sum
    }

    pub(super) fn add(&mut self, record: &Record) {
        self.lines += record.lines();
        self.bytes += record.stream_bytes();
    }
}

/// The accounts of one batch. Shared by the sinks that are not done with it; counted when the last one is.
#[derive(Debug)]
pub(super) struct Fates {
    runs: Vec<Run>,
    /// One bit for each record that is not to be counted as delivered; made when there is the first.
    gone: OnceLock<Box<[AtomicU64]>>,
    records: usize,
    pub(super) sum: Sum,
    /// What they take of a queue.
    pub(super) cost: u64,
}

/// Neighbours of one container and stream.
#[derive(Debug)]
struct Run {
    account: Arc<Account>,
    stream: usize,
    /// The place after its last record.
    end: usize,
    cost: u64,
    lines: AtomicU64,
    bytes: AtomicU64,
}

impl Fates {
    /// The accounts of a batch.
    pub(super) fn of(records: &[Record]) -> Self {
        let mut end = 0;
        let (mut sum, mut cost) = (Sum::default(), 0);
        let neighbours =
            records.chunk_by(|a, b| a.stream == b.stream && Arc::ptr_eq(&a.origin.account, &b.origin.account));
        let runs = neighbours.filter_map(|run| {
            let first = run.first()?;
            end += run.len();
            let of_run = Sum::of(run);
            sum.lines += of_run.lines;
            sum.bytes += of_run.bytes;
            let cost_of_run = cost_of(run);
            cost += cost_of_run;
            Some(Run {
                account: Arc::clone(&first.origin.account),
                stream: first.stream as usize,
                end,
                cost: cost_of_run,
                lines: of_run.lines.into(),
                bytes: of_run.bytes.into(),
            })
        });
        let runs = runs.collect();
        Self { runs, gone: OnceLock::new(), records: records.len(), sum, cost }
    }

    /// The accounts of the containers of the batch, with what their neighbouring records take of a queue.
    pub(super) fn costs(&self) -> impl Iterator<Item = (&Arc<Account>, u64)> {
        self.runs.iter().map(|run| (&run.account, run.cost))
    }

    /// A sink that was to have the record drops it. The first to do so counts it.
    pub(super) fn dropped(&self, place: usize, record: &Record, kind: DropKind) {
        if let Some(run) = self.leave_out(place, record) {
            run.account.streams[run.stream].dropped[kind as usize].fetch_add(record.stream_bytes(), Relaxed);
        }
    }

    /// No sink was to have the record.
    pub(super) fn filtered(&self, place: usize, record: &Record) {
        if let Some(run) = self.leave_out(place, record) {
            run.account.streams[run.stream].filtered.fetch_add(record.stream_bytes(), Relaxed);
        }
    }

    /// Takes a record out of what will be delivered; its run, if it was still in.
    fn leave_out(&self, place: usize, record: &Record) -> Option<&Run> {
        let gone = self.gone.get_or_init(|| (0..self.records.div_ceil(64)).map(|_| AtomicU64::new(0)).collect());
        let bit = 1 << (place % 64);
        if gone[place / 64].fetch_or(bit, Relaxed) & bit != 0 {
            return None;
        }
        let run = &self.runs[self.runs.partition_point(|run| run.end <= place)];
        run.lines.fetch_sub(record.lines(), Relaxed);
        run.bytes.fetch_sub(record.stream_bytes(), Relaxed);
        Some(run)
    }
}

impl Drop for Fates {
    /// Every sink is done with the batch: what none has dropped is delivered.
    fn drop(&mut self) {
        for run in &mut self.runs {
            let account = &run.account.streams[run.stream];
            account.lines.fetch_add(*run.lines.get_mut(), Relaxed);
            account.delivered.fetch_add(*run.bytes.get_mut(), Relaxed);
        }
    }
}

/// Where records that a sink holds stand in the batch that they came in.
#[derive(Clone, Debug)]
pub(super) struct Part {
    fates: Arc<Fates>,
    places: Places,
}

#[derive(Clone, Debug)]
enum Places {
    /// One after the other, from this one on.
    From(usize),
    /// Those of a list, from this place in it on.
    Listed(Arc<[u32]>, usize),
}

impl Part {
    /// All of a batch.
    pub(super) fn whole(fates: Arc<Fates>) -> Self {
        Self { fates, places: Places::From(0) }
    }

    /// Some of these records; their places among these.
    pub(super) fn pick(&self, picked: &[u32]) -> Self {
        let places = picked.iter().map(|place| self.place(*place as usize) as u32);
        Self { fates: Arc::clone(&self.fates), places: Places::Listed(places.collect(), 0) }
    }

    /// All from a place on.
    pub(super) fn from(&self, first: usize) -> Self {
        let places = match &self.places {
            Places::From(begin) => Places::From(begin + first),
            Places::Listed(list, begin) => Places::Listed(Arc::clone(list), begin + first),
        };
        Self { fates: Arc::clone(&self.fates), places }
    }

    /// The record at a place is dropped.
    pub(super) fn dropped(&self, place: usize, record: &Record, kind: DropKind) {
        self.fates.dropped(self.place(place), record, kind);
    }

    fn place(&self, place: usize) -> usize {
        match &self.places {
            Places::From(begin) => begin + place,
            Places::Listed(list, begin) => list[begin + place] as usize,
        }
    }
}
