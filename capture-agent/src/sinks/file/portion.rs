//! What is to be appended to one file, and what becomes of it.

use std::io::IoSlice;
use std::path::PathBuf;

use crate::sinks::delivery::Refused;

/// Value of the `reason` label for records whose file cannot be: a directory stands in its place.
const UNWRITABLE: &str = "unwritable";

/// Bytes of a cache line.
const LINE: usize = 64;

/// What is to be appended to one file: bytes that records were encoded to, and bytes of records that are written from where they lie.
#[derive(Debug)]
pub(super) struct Portion<'a> {
    pub(super) path: PathBuf,
    encoded: Vec<u8>,
    /// Where in the encoded bytes the first begins.
    begin: usize,
    /// All of it, in order.
    parts: Vec<Part<'a>>,
    length: usize,
    /// Places of the records, and where each ends.
    records: Vec<(usize, usize)>,
    /// What became of a record that could not be appended. None is appended after it: they stay in their order.
    pub(super) end: Option<End>,
}

/// Bytes that lie side by side.
#[derive(Clone, Copy, Debug)]
enum Part<'a> {
    /// So many of the encoded ones, after those of the parts before.
    Encoded(usize),
    Lent(&'a [u8]),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// To be tried again.
    Left,
    /// No retry will help.
    Hopeless,
}

impl<'a> Portion<'a> {
    /// Nothing yet, to be put into `encoded`, which is empty, and then at `position` of the file.
    pub(super) fn new(path: PathBuf, encoded: Vec<u8>, position: u64) -> Self {
        let mut portion =
            Self { path, encoded, begin: 0, parts: Vec::new(), length: 0, records: Vec::new(), end: None };
        portion.clear(position);
        portion
    }

    /// Adds the record with this place, of which `encode` appends the bytes; how many bytes there are now.
    pub(super) fn add(&mut self, index: usize, encode: impl FnOnce(&mut Vec<u8>)) -> usize {
        let before = self.encoded.len();
        encode(&mut self.encoded);
        let more = self.encoded.len() - before;
        if let Some(Part::Encoded(length)) = self.parts.last_mut() {
            *length += more;
        } else {
            self.parts.push(Part::Encoded(more));
        }
        self.end_record(index, more)
    }

    /// Adds the record with this place, whose bytes stay where they are; how many bytes there are now.
    pub(super) fn lend(&mut self, index: usize, bytes: &'a [u8]) -> usize {
        self.parts.push(Part::Lent(bytes));
        self.end_record(index, bytes.len())
    }

    fn end_record(&mut self, index: usize, length: usize) -> usize {
        self.length += length;
        self.records.push((index, self.length));
        self.length
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
        let (mut skip, mut left) = (self.end_of(first), length);
        let mut encoded = &self.encoded[self.begin..];
        let mut slices = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let bytes = match part {
                Part::Encoded(length) => {
                    let (bytes, rest) = encoded.split_at(*length);
                    encoded = rest;
                    bytes
                }
                Part::Lent(bytes) => bytes,
            };
            let (begin, end) = (skip.min(bytes.len()), bytes.len().min(skip.saturating_add(left)));
            (skip, left) = (skip - begin, left - (end - begin));
            if begin < end {
                slices.push(IoSlice::new(&bytes[begin..end]));
            }
        }
        slices
    }

    /// Forgets all that it holds. What comes next will stand at `position` of the file: the kernel copies fastest what lies to a
    /// cache line as it will there (docs/decisions/0019).
    pub(super) fn clear(&mut self, position: u64) {
        self.records.clear();
        self.parts.clear();
        self.length = 0;
        self.encoded.clear();
        #[expect(clippy::cast_possible_truncation, reason = "less than a cache line")]
        let offset = (position % LINE as u64) as usize;
        self.begin = offset.wrapping_sub(self.encoded.as_ptr().addr()) % LINE;
        self.encoded.resize(self.begin, 0);
    }

    /// Its memory, for the next one.
    pub(super) fn into_spare(mut self) -> Vec<u8> {
        self.encoded.clear();
        self.encoded
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

#[cfg(test)]
mod tests {
    use super::*;

    fn text(slices: &[IoSlice<'_>]) -> String {
        slices.iter().map(|slice| str::from_utf8(slice).unwrap()).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn bytes_lie_to_a_cache_line_as_they_will_in_the_file() {
        let mut portion = Portion::new(PathBuf::new(), Vec::with_capacity(1000), 0);
        for position in [0, 1, 63, 64, 65, 1_000_003, u64::MAX] {
            portion.clear(position);
            assert_eq!((portion.len(), portion.ends(0), portion.slices(0, 0).len()), (0, vec![], 0));
            let sizes = [b"first\n", b"other\n"].map(|line| portion.add(7, |bytes| bytes.extend_from_slice(line)));
            assert_eq!((sizes, portion.ends(0)), ([6, 12], vec![6, 12]));
            let slices = portion.slices(0, 12);
            assert_eq!(text(&slices), "first\nother\n");
            assert_eq!(slices[0].as_ptr().addr() as u64 % 64, position % 64);
            assert_eq!((text(&portion.slices(1, 6)), portion.ends(1)), ("other\n".to_owned(), vec![6]));
            assert_eq!(portion.places(1).collect::<Vec<_>>(), [7]);
        }
        assert!(portion.into_spare().is_empty());
    }

    #[test]
    fn what_is_lent_stands_where_it_was_added() {
        let mut portion = Portion::new(PathBuf::new(), Vec::new(), 5);
        let encoded = |text: &'static str| move |bytes: &mut Vec<u8>| bytes.extend_from_slice(text.as_bytes());
        portion.add(0, encoded("ab"));
        portion.add(1, encoded("cd"));
        assert_eq!(portion.lend(2, b"EFG"), 7);
        portion.lend(3, b"HI");
        assert_eq!(portion.add(4, encoded("j")), 10);
        assert_eq!(portion.ends(0), [2, 4, 7, 9, 10]);
        assert_eq!(text(&portion.slices(0, 10)), "abcd|EFG|HI|j");
        assert_eq!((text(&portion.slices(1, 5)), portion.ends(1)), ("cd|EFG".to_owned(), vec![2, 5, 7, 8]));
        assert_eq!(text(&portion.slices(3, 3)), "HI|j");
        for first in 0..5 {
            for length in 0..=10 - portion.end_of(first) {
                let all = text(&portion.slices(first, length)).replace('|', "");
                assert_eq!(all, "abcdEFGHIj"[portion.end_of(first)..][..length]);
            }
        }
        portion.clear(0);
        assert_eq!((portion.len(), portion.add(0, encoded("k"))), (0, 1));
        assert_eq!(text(&portion.slices(0, 1)), "k");
    }
}
