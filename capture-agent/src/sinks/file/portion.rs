//! What is to be appended to one file, and what becomes of it.

use std::io::IoSlice;
use std::path::PathBuf;

use crate::pipeline::record::Record;
use crate::sinks::delivery::Refused;
use crate::sinks::encode::Encoder;
use crate::sinks::gathered::Gathered;

/// Value of the `reason` label for records whose file cannot be: a directory stands in its place.
const UNWRITABLE: &str = "unwritable";

/// What is to be appended to one file.
#[derive(Debug)]
pub(super) struct Portion<'a> {
    pub(super) path: PathBuf,
    bytes: Gathered<'a>,
    /// Places of the records, and where each ends.
    records: Vec<(usize, usize)>,
    /// What became of a record that could not be appended. None is appended after it: they stay in their order.
    pub(super) end: Option<End>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// To be tried again.
    Left,
    /// No retry will help.
    Hopeless,
}

impl<'a> Portion<'a> {
    /// Nothing yet, to be put into `memory`, and then at `position` of the file.
    pub(super) fn new(path: PathBuf, memory: Vec<u8>, position: u64) -> Self {
        let mut portion = Self { path, bytes: Gathered::new(memory), records: Vec::new(), end: None };
        portion.clear(position);
        portion
    }

    /// Adds the record with this place; how many bytes there are now.
    pub(super) fn add(&mut self, index: usize, record: &'a Record, encoder: &mut Encoder) -> usize {
        self.bytes.add(record, encoder);
        self.records.push((index, self.bytes.len()));
        self.bytes.len()
    }

    /// How many records it holds.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Places of the records but for the first ones.
    pub(super) fn places(&self, first: usize) -> impl Iterator<Item = usize> {
        self.records[first..].iter().map(|(index, _)| *index)
    }

    /// Where the records but for the first ones end, counted from where they begin.
    pub(super) fn ends(&self, first: usize) -> Vec<usize> {
        let begin = self.end_of(first);
        self.records[first..].iter().map(|(_, end)| end - begin).collect()
    }

    /// So many bytes of the records but for the first ones.
    pub(super) fn slices(&self, first: usize, length: usize) -> Vec<IoSlice<'_>> {
        let begin = self.end_of(first);
        self.bytes.slices(begin..begin + length)
    }

    /// Forgets all that it holds. What comes next will stand at `position` of the file: the kernel copies fastest what lies to a
    /// cache line as it will there (docs/decisions/0019).
    pub(super) fn clear(&mut self, position: u64) {
        self.records.clear();
        self.bytes.clear(position);
    }

    /// Its memory, for the next one.
    pub(super) fn into_memory(self) -> Vec<u8> {
        self.bytes.into_memory()
    }

    /// Where the first ones end.
    fn end_of(&self, first: usize) -> usize {
        first.checked_sub(1).map_or(0, |last| self.records[last].1)
    }
}

/// What became of the records of a call that are not in their files.
#[derive(Debug, Default)]
pub(super) struct Fates {
    pub(super) left: Vec<usize>,
    pub(super) refused: Vec<Refused>,
    pub(super) cause: Option<String>,
}

impl Fates {
    pub(super) fn add(&mut self, index: usize, end: End) {
        match end {
            End::Left => self.left.push(index),
            End::Hopeless => self.refused.push(Refused { index, reason: UNWRITABLE }),
        }
    }
}
