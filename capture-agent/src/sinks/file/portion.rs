//! What is to be appended to one file, and what becomes of it.

use std::path::PathBuf;

use crate::sinks::delivery::Refused;

/// Value of the `reason` label for records whose file cannot be: a directory stands in its place.
const UNWRITABLE: &str = "unwritable";

/// Bytes of a cache line.
const LINE: usize = 64;

/// What is to be appended to one file.
#[derive(Debug)]
pub(super) struct Portion {
    pub(super) path: PathBuf,
    bytes: Vec<u8>,
    /// Where in the bytes the first record begins.
    begin: usize,
    /// Places of the records, and where each ends in the bytes.
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

impl Portion {
    /// Nothing yet, to be put into `bytes`, which are empty, and then at `position` of the file.
    pub(super) fn new(path: PathBuf, bytes: Vec<u8>, position: u64) -> Self {
        let mut portion = Self { path, bytes, begin: 0, records: Vec::new(), end: None };
        portion.clear(position);
        portion
    }

    /// Adds the record with this place, of which `encode` appends the bytes; how many bytes there are now.
    pub(super) fn add(&mut self, index: usize, encode: impl FnOnce(&mut Vec<u8>)) -> usize {
        encode(&mut self.bytes);
        self.records.push((index, self.bytes.len()));
        self.bytes.len() - self.begin
    }

    /// How many records it holds.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Places of the records but for the first ones.
    pub(super) fn places(&self, first: usize) -> impl Iterator<Item = usize> {
        self.records[first..].iter().map(|(index, _)| *index)
    }

    /// The bytes of the records but for the first ones, and where in these each ends.
    pub(super) fn rest(&self, first: usize) -> (&[u8], Vec<usize>) {
        let begin = self.end_of(first);
        (&self.bytes[begin..], self.records[first..].iter().map(|(_, end)| end - begin).collect())
    }

    /// Forgets all that it holds. What comes next will stand at `position` of the file: the kernel copies fastest what lies to a
    /// cache line as it will there (docs/decisions/0019).
    pub(super) fn clear(&mut self, position: u64) {
        self.records.clear();
        self.bytes.clear();
        #[expect(clippy::cast_possible_truncation, reason = "less than a cache line")]
        let offset = (position % LINE as u64) as usize;
        self.begin = offset.wrapping_sub(self.bytes.as_ptr().addr()) % LINE;
        self.bytes.resize(self.begin, 0);
    }

    /// Its memory, for the next one.
    pub(super) fn into_spare(mut self) -> Vec<u8> {
        self.bytes.clear();
        self.bytes
    }

    /// Where the first ones end.
    fn end_of(&self, first: usize) -> usize {
        first.checked_sub(1).map_or(self.begin, |last| self.records[last].1)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_lie_to_a_cache_line_as_they_will_in_the_file() {
        let mut portion = Portion::new(PathBuf::new(), Vec::with_capacity(1000), 0);
        for position in [0, 1, 63, 64, 65, 1_000_003, u64::MAX] {
            portion.clear(position);
            assert_eq!((portion.len(), portion.rest(0)), (0, (&b""[..], vec![])));
            let sizes = [b"first\n", b"other\n"].map(|line| portion.add(7, |bytes| bytes.extend_from_slice(line)));
            assert_eq!(sizes, [6, 12]);
            let (bytes, ends) = portion.rest(0);
            assert_eq!((bytes, ends), (&b"first\nother\n"[..], vec![6, 12]));
            assert_eq!(bytes.as_ptr().addr() as u64 % 64, position % 64);
            assert_eq!(portion.rest(1), (&b"other\n"[..], vec![6]));
            assert_eq!(portion.places(1).collect::<Vec<_>>(), [7]);
        }
        assert!(portion.into_spare().is_empty());
    }
}
