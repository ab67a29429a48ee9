//! What the cases write: a function of stream and seed.

/// Bytes that go through pipes, sockets and files inside the container and must never be captured.
pub const FOREIGN: &[u8] = b"FOREIGN bytes that never reach the container's output\n";

/// What ends up on one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    Empty,
    /// Numbered lines of differing length, cut at this many bytes (so most end without a newline).
    Lines(usize),
    /// Pseudo-random bytes of every value after one run through 0..=255.
    Bytes(usize),
    /// Zero bytes.
    Zeros(usize),
    /// Some first part of numbered lines of this many bytes: the writer is killed on the way.
    PrefixOfLines(usize),
    /// Whole lines of several writers at once, each with its own numbers.
    Writers {
        /// Number of writers.
        writers: usize,
        /// Lines of each.
        lines: usize,
    },
}

impl Content {
    /// The bytes, with the writers one after the other where there are several.
    #[must_use]
    pub fn bytes(self, stream: &str, seed: u32) -> Vec<u8> {
        match self {
            Self::Empty => Vec::new(),
            Self::Lines(length) | Self::PrefixOfLines(length) => numbered(stream, seed, length),
            Self::Bytes(length) => {
                let mut random = Random::new(seed);
                (0..=255).chain(std::iter::from_fn(|| Some(random.next() as u8))).take(length).collect()
            }
            Self::Zeros(length) => vec![0; length],
            Self::Writers { writers, lines } => (0..writers)
                .flat_map(|writer| lines_of_writer(stream, seed, writer, lines))
                .collect::<Vec<_>>()
                .concat(),
        }
    }
}

/// The lines of one of several writers, each with its newline and shorter than `PIPE_BUF`, so that no write is torn.
#[must_use]
pub fn lines_of_writer(stream: &str, seed: u32, writer: usize, lines: usize) -> Vec<Vec<u8>> {
    let mut random = Random::new(seed ^ (writer as u32).wrapping_mul(0x9e37_79b9));
    (0..lines)
        .map(|number| {
            let filler = random.letters(random_length(number, &mut Random::new(seed ^ number as u32), 2000));
            format!("w{writer:02} {stream} {number:07} {filler}\n").into_bytes()
        })
        .collect()
}

fn numbered(stream: &str, seed: u32, length: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = Vec::with_capacity(length + 64);
    let mut number = 0;
    while bytes.len() < length {
        let filler_length = random_length(number, &mut random, 20_000);
        let filler = random.letters(filler_length);
        bytes.extend_from_slice(format!("{stream} {seed} {number:07} {filler}\n").as_bytes());
        number += 1;
    }
    bytes.truncate(length);
    bytes
}

/// Mostly short; now and then empty, and now and then longer than the 16 KiB at which the engine cuts lines.
fn random_length(number: usize, random: &mut Random, longest: u32) -> usize {
    let length = match number % 512 {
        300 => longest,
        n if n % 16 == 7 => 0,
        _ => random.next() % 120,
    };
    length as usize
}

/// Xorshift: the same everywhere, unlike anything that a dependency may change.
pub(crate) struct Random(u32);

impl Random {
    pub(crate) fn new(seed: u32) -> Self {
        Self(seed.wrapping_mul(2_654_435_761) | 1)
    }

    pub(crate) fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0.wrapping_shr(7)
    }

    pub(crate) fn letters(&mut self, length: usize) -> String {
        (0..length).map(|_| char::from(b'a' + (self.next() % 26) as u8)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_a_function_of_stream_and_seed() {
        let content = Content::Lines(100_000);
        assert_eq!(content.bytes("out", 7), content.bytes("out", 7));
        assert_ne!(content.bytes("out", 7), content.bytes("out", 8));
        assert_ne!(content.bytes("out", 7), content.bytes("err", 7));
        assert_eq!(content.bytes("out", 7).len(), 100_000);
    }

    #[test]
    fn bytes_have_every_value() {
        let bytes = Content::Bytes(1000).bytes("out", 1);
        assert!((0..=255).all(|value| bytes.contains(&value)));
    }

    #[test]
    fn lines_of_concurrent_writers_fit_into_an_atomic_write() {
        assert!(lines_of_writer("out", 3, 15, 2000).iter().all(|line| line.len() <= libc::PIPE_BUF));
    }
}
