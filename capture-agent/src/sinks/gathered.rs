//! What is to be written at once: what records were encoded to, and bytes of records that are written from where they lie.

use std::io::IoSlice;
use std::ops::Range;

use super::encode::Encoder;
use crate::pipeline::record::Record;

/// From so many bytes on they are written from where they lie, if no encoding changes them: the kernel takes longer for a shorter
/// part than it takes to copy that to where others are (docs/decisions/0019).
pub(super) const LENT: usize = 1 << 10;
/// Bytes of a cache line.
const LINE: usize = 64;

/// Bytes of records, in order.
#[derive(Debug)]
pub(super) struct Gathered<'a> {
    encoded: Vec<u8>,
    /// Where in the encoded bytes the first begins.
    begin: usize,
    parts: Vec<Part<'a>>,
    length: usize,
}

/// Bytes that lie side by side.
#[derive(Clone, Copy, Debug)]
enum Part<'a> {
    /// So many of the encoded ones, after those of the parts before.
    Encoded(usize),
    Lent(&'a [u8]),
}

impl<'a> Gathered<'a> {
    /// Nothing yet. What is encoded will be in `memory`; what that holds is forgotten.
    pub(super) fn new(memory: Vec<u8>) -> Self {
        let mut gathered = Self { encoded: memory, begin: 0, parts: Vec::new(), length: 0 };
        gathered.clear(0);
        gathered
    }

    /// Adds a record.
    pub(super) fn add(&mut self, record: &'a Record, encoder: &mut Encoder) {
        match encoder.as_it_is(record) {
            Some(bytes) if bytes.len() >= LENT => {
                self.parts.push(Part::Lent(bytes));
                self.length += bytes.len();
            }
            _ => {
                let before = self.encoded.len();
                encoder.encode(record, &mut self.encoded);
                let more = self.encoded.len() - before;
                self.length += more;
                if let Some(Part::Encoded(length)) = self.parts.last_mut() {
                    *length += more;
                } else {
                    self.parts.push(Part::Encoded(more));
                }
            }
        }
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Some of them.
    pub(super) fn slices(&self, range: Range<usize>) -> Vec<IoSlice<'_>> {
        let (mut skip, mut left) = (range.start, range.len());
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

    /// Forgets all that it holds. What is encoded next will lie to a cache line as `position` does.
    pub(super) fn clear(&mut self, position: u64) {
        self.parts.clear();
        self.length = 0;
        self.encoded.clear();
        #[expect(clippy::cast_possible_truncation, reason = "less than a cache line")]
        let offset = (position % LINE as u64) as usize;
        self.begin = offset.wrapping_sub(self.encoded.as_ptr().addr()) % LINE;
        self.encoded.resize(self.begin, 0);
    }

    /// Its memory, for the next one.
    pub(super) fn into_memory(self) -> Vec<u8> {
        self.encoded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::record::Content;
    use crate::sinks::encode::Encoding;

    fn record(text: &str) -> Record {
        Record::of(Content::Lines { data: text.to_owned().into(), count: text.lines().count() as u32 })
    }

    fn text(slices: &[IoSlice<'_>]) -> String {
        slices.iter().map(|slice| str::from_utf8(slice).unwrap()).collect()
    }

    #[test]
    fn bytes_lie_to_a_cache_line_as_their_position_does() {
        let mut encoder = Encoder::new(Encoding::Raw, String::new(), false);
        let (first, other) = (record("first\n"), record("other\n"));
        let mut gathered = Gathered::new(vec![1; 1000]);
        for position in [0, 1, 63, 64, 65, 1_000_003, u64::MAX] {
            gathered.clear(position);
            assert_eq!((gathered.len(), gathered.slices(0..0).len()), (0, 0));
            gathered.add(&first, &mut encoder);
            gathered.add(&other, &mut encoder);
            let slices = gathered.slices(0..12);
            assert_eq!((gathered.len(), slices.len(), text(&slices).as_str()), (12, 1, "first\nother\n"));
            assert_eq!(slices[0].as_ptr().addr() as u64 % 64, position % 64);
        }
        assert_eq!(Gathered::new(gathered.into_memory()).len(), 0);
    }

    #[test]
    fn what_is_lent_stands_where_it_was_added() {
        let mut encoder = Encoder::new(Encoding::Raw, String::new(), false);
        let long = |letter: &str| record(&format!("{}\n", letter.repeat(LENT)));
        let records = [record("a\n"), record("b\n"), long("c"), long("d"), record("e\n")];
        let mut gathered = Gathered::new(Vec::new());
        for record in &records {
            gathered.add(record, &mut encoder);
        }
        let all = text(&gathered.slices(0..gathered.len()));
        assert!(all == format!("a\nb\n{}\n{}\ne\n", "c".repeat(LENT), "d".repeat(LENT)));
        let lengths: Vec<_> = gathered.slices(1..all.len()).iter().map(|slice| slice.len()).collect();
        assert_eq!(lengths, [3, LENT + 1, LENT + 1, 2]);
        let Content::Lines { data, .. } = &records[2].content else { panic!("lines") };
        assert_eq!(gathered.slices(4..8)[0].as_ptr(), data.as_ptr());
        for begin in (0..8).chain(LENT..LENT + 8).chain(all.len() - 5..=all.len()) {
            for end in (begin..all.len().min(begin + 9)).chain([all.len()]) {
                assert!(text(&gathered.slices(begin..end)) == all[begin..end], "{begin} to {end}");
            }
        }
        let mut json = Encoder::new(Encoding::Json, String::new(), false);
        gathered.clear(0);
        gathered.add(&records[2], &mut json);
        assert!(text(&gathered.slices(0..gathered.len())).starts_with("{\"timestamp\":"));
    }
}
