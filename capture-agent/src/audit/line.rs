//! Lines of one stream, put together from the pieces that either side has.

/// Longest piece of a line that the engine hands to a log driver (`defaultBufSize` in moby's `daemon/logger/copier.go`).
const PIECE: usize = 16 * 1024;

/// A line of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// As the engine logs it, without the newline.
    pub text: Vec<u8>,
    /// In nanoseconds since the Unix epoch: of a captured line, when its first byte was written; of a logged one, when
    /// the engine read its last.
    pub time: i64,
    /// Of a captured line, its first byte's place in the stream; of a logged one, the entry's place in its file.
    pub place: u64,
    /// Bytes that are missing in it; `text` has what there is before and after.
    pub gap: Option<Gap>,
}

/// Bytes that are missing in a captured line: the first ones, where there are several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Place in the line.
    pub at: usize,
    /// How many.
    pub bytes: u64,
    /// Why, where there is one reason.
    pub reason: Option<&'static str>,
}

/// Makes lines of pieces.
#[derive(Debug, Default)]
pub struct Assembly {
    pub(super) lines: Vec<Line>,
    open: Option<Line>,
    /// Bytes that it holds, with what each line takes beside its text.
    memory: u64,
}

impl Assembly {
    /// Takes bytes without a newline.
    pub(super) fn push(&mut self, bytes: &[u8], time: i64, place: u64) -> &mut Line {
        self.memory += bytes.len() as u64;
        let open = self.open.get_or_insert_with(|| Line { text: Vec::new(), time, place, gap: None });
        open.text.extend_from_slice(bytes);
        open
    }

    /// Ends the line that is open, or an empty one.
    pub(super) fn end(&mut self, time: i64, place: u64, finish: impl FnOnce(&mut Line)) {
        let mut line = self.open.take().unwrap_or(Line { text: Vec::new(), time, place, gap: None });
        finish(&mut line);
        line.text.shrink_to_fit();
        self.memory += size_of::<Line>() as u64;
        self.lines.push(line);
    }

    /// Ends the line that is open, if one is: where the stream has ended without a newline.
    pub(super) fn end_open(&mut self, finish: impl FnOnce(&mut Line)) {
        if self.open.is_some() {
            self.end(0, 0, finish);
        }
    }

    /// Whether bytes are missing in the line that is open.
    pub(super) fn has_gap_open(&self) -> bool {
        self.open.as_ref().is_some_and(|line| line.gap.is_some())
    }

    pub(super) fn memory(&self) -> u64 {
        self.memory
    }
}

/// What the engine makes of a line that is not UTF-8: each byte that belongs to no character becomes U+FFFD, and a
/// character that the end of a piece cuts counts as such bytes.
pub(super) fn as_logged(line: &[u8]) -> Vec<u8> {
    let mut logged = Vec::with_capacity(line.len());
    for chunk in line.chunks(PIECE).flat_map(<[u8]>::utf8_chunks) {
        logged.extend_from_slice(chunk.valid().as_bytes());
        // Go counts bytes, not maximal sequences.
        chunk.invalid().iter().for_each(|_| logged.extend_from_slice("\u{fffd}".as_bytes()));
    }
    logged
}

/// Whether a piece of a line reads the same wherever in the line it stands.
pub(super) fn is_plain(piece: &[u8]) -> bool {
    piece.len() <= PIECE && std::str::from_utf8(piece).is_ok_and(|text| !text.contains('\u{fffd}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_byte_is_replaced_by_itself() {
        assert_eq!(as_logged(b"a\xe2\x82z\xff"), "a\u{fffd}\u{fffd}z\u{fffd}".as_bytes());
        assert_eq!(as_logged("ü€".as_bytes()), "ü€".as_bytes());
        // A character on the edge of a piece.
        let line = ["a".repeat(PIECE - 1).as_bytes(), "ü".as_bytes()].concat();
        assert_eq!(&as_logged(&line)[PIECE - 1..], "\u{fffd}\u{fffd}".as_bytes());
    }

    #[test]
    fn lines_are_put_together() {
        let mut assembly = Assembly::default();
        assembly.push(b"a", 1, 10);
        assembly.push(b"b", 2, 11);
        assembly.end(3, 12, |_| ());
        assembly.end(4, 13, |_| ());
        assembly.push(b"rest", 5, 14);
        let texts: Vec<_> = assembly.lines.iter().map(|line| (&line.text[..], line.time, line.place)).collect();
        assert_eq!(texts, [(&b"ab"[..], 1, 10), (b"", 4, 13)]);
        assembly.end_open(|_| ());
        assembly.end_open(|_| ());
        assert_eq!(assembly.lines.len(), 3);
    }
}
