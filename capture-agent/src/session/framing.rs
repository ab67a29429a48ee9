//! Bytes into lines.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of which it is known how many newlines they have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    bytes: Bytes,
    newlines: usize,
}

impl Counted {
    /// Bytes that somebody has counted already.
    pub(super) fn of(bytes: Bytes, newlines: usize) -> Self {
        debug_assert_eq!(newlines, memchr::memchr_iter(b'\n', &bytes).count(), "of {} bytes", bytes.len());
        Self { bytes, newlines }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl From<Bytes> for Counted {
    /// Counts them.
    fn from(bytes: Bytes) -> Self {
        let newlines = memchr::memchr_iter(b'\n', &bytes).count();
        Self { bytes, newlines }
    }
}

/// A line, or a piece of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `CLOCK_MONOTONIC` of the write that began it, in ns.
    pub timestamp: u64,
    /// Without the newline.
    pub message: Bytes,
    /// Whether a newline followed.
    pub newline: bool,
    /// Whether it goes on in the next line, or was cut off.
    pub partial: bool,
    /// Bytes of the stream that the message leaves out beside the newline: a terminal's carriage return.
    pub omitted: i64,
}

/// What comes out of a [`Framer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framed {
    /// One line.
    Line(Line),
    /// Whole lines that one write carried, each with its newline.
    Lines {
        /// `CLOCK_MONOTONIC` of the write, in ns.
        timestamp: u64,
        /// The lines as they stand in the stream.
        data: Bytes,
        /// How many.
        count: u32,
    },
}

/// Splits one stream at its newlines. Whole lines within one chunk are a slice of it, all of them together; only what
/// spans chunks is copied.
#[derive(Debug)]
pub struct Framer {
    max_line: usize,
    pending: BytesMut,
    pending_since: u64,
    terminal: bool,
}

impl Framer {
    /// Lines longer than `max_line` bytes are given out in pieces.
    #[must_use]
    pub fn new(max_line: usize) -> Self {
        Self { max_line: max_line.max(1), pending: BytesMut::new(), pending_since: 0, terminal: false }
    }

    /// Undoes what a terminal does to a newline (`ONLCR` of termios(3)): the carriage return before it is left out.
    pub fn set_terminal(&mut self, terminal: bool) {
        self.terminal = terminal;
    }

    /// Takes the next bytes of the stream, and gives out what they complete. The chunk itself becomes its lines: to count
    /// one more holder of memory that another thread lets go of costs as much as to look through a short line.
    pub fn push(&mut self, timestamp: u64, chunk: Counted, mut out: impl FnMut(Framed)) {
        let Counted { bytes: mut chunk, mut newlines } = chunk;
        if self.terminal || chunk.len() > self.max_line {
            return self.push_each(timestamp, &chunk, &mut |line| out(Framed::Line(line)));
        }
        if !self.pending.is_empty() {
            let end = memchr::memchr(b'\n', &chunk);
            self.piece(timestamp, &chunk, 0, end.unwrap_or(chunk.len()), end.is_some(), &mut |line| {
                out(Framed::Line(line));
            });
            chunk.advance(end.map_or(chunk.len(), |newline| newline + 1));
            newlines -= usize::from(end.is_some());
        }
        // No line in here is longer than the chunk, so none is too long.
        let whole = memchr::memrchr(b'\n', &chunk).map_or(0, |last| last + 1);
        if whole < chunk.len() {
            self.append(timestamp, &chunk[whole..]);
            chunk.truncate(whole);
        }
        match newlines {
            0 => {}
            1 => {
                chunk.truncate(whole - 1);
                out(Framed::Line(self.line(timestamp, chunk, true, false)));
            }
            count => out(Framed::Lines { timestamp, data: chunk, count: count as u32 }),
        }
    }

    /// As [`push`](Self::push), line by line.
    fn push_each(&mut self, timestamp: u64, chunk: &Bytes, out: &mut impl FnMut(Line)) {
        let mut start = 0;
        for newline in memchr::memchr_iter(b'\n', chunk) {
            self.piece(timestamp, chunk, start, newline, true, out);
            start = newline + 1;
        }
        if start < chunk.len() {
            self.piece(timestamp, chunk, start, chunk.len(), false, out);
        }
    }

    /// Bytes that wait for their newline.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.pending.len() as u64
    }

    /// Gives out what has no newline: at the end of the stream, or (`cut`) before a gap.
    pub fn flush(&mut self, cut: bool) -> Option<Line> {
        (!self.pending.is_empty()).then(|| self.take(false, cut))
    }

    /// `chunk[start..end]`, which ends a line or the chunk.
    fn piece(
        &mut self,
        timestamp: u64,
        chunk: &Bytes,
        mut start: usize,
        end: usize,
        newline: bool,
        out: &mut impl FnMut(Line),
    ) {
        loop {
            let room = self.max_line - self.pending.len();
            if end - start <= room {
                break;
            }
            self.append(timestamp, &chunk[start..start + room]);
            out(self.take(false, true));
            start += room;
        }
        if !newline {
            self.append(timestamp, &chunk[start..end]);
        } else if self.pending.is_empty() {
            out(self.line(timestamp, chunk.slice(start..end), true, false));
        } else {
            self.append(timestamp, &chunk[start..end]);
            out(self.take(true, false));
        }
    }

    fn append(&mut self, timestamp: u64, bytes: &[u8]) {
        if self.pending.is_empty() {
            self.pending_since = timestamp;
        }
        self.pending.extend_from_slice(bytes);
    }

    fn take(&mut self, newline: bool, partial: bool) -> Line {
        let message = self.pending.split().freeze();
        self.line(self.pending_since, message, newline, partial)
    }

    fn line(&self, timestamp: u64, mut message: Bytes, newline: bool, partial: bool) -> Line {
        let omit = self.terminal && newline && message.last() == Some(&b'\r');
        if omit {
            message.truncate(message.len() - 1);
        }
        Line { timestamp, message, newline, partial, omitted: i64::from(omit) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Line by line.
    fn each(framed: Framed) -> Vec<Line> {
        match framed {
            Framed::Line(line) => vec![line],
            Framed::Lines { timestamp, data, count } => {
                assert_eq!((memchr::memchr_iter(b'\n', &data).count(), data.last()), (count as usize, Some(&b'\n')));
                let lines = data.split(|byte| *byte == b'\n').take(count as usize);
                let line = |line| Line {
                    timestamp,
                    message: Bytes::copy_from_slice(line),
                    newline: true,
                    partial: false,
                    omitted: 0,
                };
                lines.map(line).collect()
            }
        }
    }

    fn run(max_line: usize, chunks: &[&[u8]]) -> Vec<Line> {
        let mut framer = Framer::new(max_line);
        let mut lines = Vec::new();
        for (timestamp, chunk) in (1..).zip(chunks) {
            framer.push(timestamp, Bytes::copy_from_slice(chunk).into(), |framed| lines.extend(each(framed)));
        }
        lines.extend(framer.flush(false));
        lines
    }

    fn line(timestamp: u64, message: &'static str, newline: bool, partial: bool) -> Line {
        Line { timestamp, message: Bytes::from_static(message.as_bytes()), newline, partial, omitted: 0 }
    }

    #[test]
    fn undoes_what_a_terminal_does_to_newlines() {
        let mut framer = Framer::new(99);
        framer.set_terminal(true);
        let mut lines = Vec::new();
        for chunk in [&b"a\r\nb\r"[..], b"\n\r\r\nc\r"] {
            framer.push(1, Bytes::copy_from_slice(chunk).into(), |framed| lines.extend(each(framed)));
        }
        lines.extend(framer.flush(false));
        let texts: Vec<_> = lines.iter().map(|line| (&line.message[..], line.omitted)).collect();
        assert_eq!(texts, [(&b"a"[..], 1), (b"b", 1), (b"\r", 1), (b"c\r", 0)]);
    }

    #[test]
    fn splits_at_newlines_and_keeps_empty_lines() {
        assert_eq!(
            run(99, &[b"a\n\nb\n"]),
            [line(1, "a", true, false), line(1, "", true, false), line(1, "b", true, false)]
        );
    }

    #[test]
    fn whole_lines_of_one_write_stay_together() {
        let mut framer = Framer::new(99);
        let mut out = Vec::new();
        framer.push(1, Bytes::from_static(b"a").into(), |framed| out.push(framed));
        framer.push(2, Bytes::from_static(b"b\nc\n\nd\ne").into(), |framed| out.push(framed));
        let data = Bytes::from_static(b"c\n\nd\n");
        assert_eq!(out, [Framed::Line(line(1, "ab", true, false)), Framed::Lines { timestamp: 2, data, count: 3 }]);
        assert_eq!(framer.pending(), 1);
    }

    #[test]
    fn joins_chunks_and_stamps_with_the_first() {
        assert_eq!(run(99, &[b"a", b"b", b"c\nd"]), [line(1, "abc", true, false), line(3, "d", false, false)]);
    }

    #[test]
    fn a_newline_alone_ends_what_is_pending() {
        assert_eq!(run(99, &[b"a", b"\n", b"\n"]), [line(1, "a", true, false), line(3, "", true, false)]);
    }

    #[test]
    fn gives_out_long_lines_in_pieces() {
        assert_eq!(run(3, &[b"abc\n"]), [line(1, "abc", true, false)], "exactly the limit");
        assert_eq!(
            run(3, &[b"abcdefg\nh"]),
            [
                line(1, "abc", false, true),
                line(1, "def", false, true),
                line(1, "g", true, false),
                line(1, "h", false, false)
            ]
        );
        assert_eq!(run(3, &[b"ab", b"cd\n"]), [line(1, "abc", false, true), line(2, "d", true, false)]);
    }

    #[test]
    fn every_byte_comes_out_again() {
        let input = b"one\n\ntwo three four\nfive".repeat(7);
        for max_line in [1, 2, 5, 64] {
            for size in 1..input.len() {
                let chunks: Vec<_> = input.chunks(size).collect();
                let mut output = Vec::new();
                for line in run(max_line, &chunks) {
                    assert!(line.message.len() <= max_line);
                    output.extend_from_slice(&line.message);
                    output.extend(line.newline.then_some(b'\n'));
                }
                assert_eq!(output, input);
            }
        }
    }
}
