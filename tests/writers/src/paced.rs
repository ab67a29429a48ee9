//! `writer --paced …`: numbered lines at a steady pace until it is told to stop, and how to tell afterwards that all are there.
//!
//! A line is a function of who writes it, in which run, on which stream and at which place, down to its filler; so whoever
//! reads it back can tell that it is whole, and which ones are missing or doubled, without any other log.

use std::{
    fs, io,
    str::FromStr,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::{content::Random, sys};

/// Begins each line, so that other programs' output in the same file is told apart.
pub const MARK: &str = "soak-";

/// Keeps the number of the run, so that the lines of a container that is started again differ from those before.
const RUN_FILE: &str = "/run-number";
/// What the last line of a run has for a filler, which is letters otherwise.
const LAST: &str = "-end-";
/// Lines on standard output for each one on standard error.
const OUT_PER_ERR: u64 = 16;
/// A signal that comes between the look at the flag and the pause is noticed after this time.
const LONGEST_PAUSE_MS: u64 = 1000;

static STOP: AtomicBool = AtomicBool::new(false);

/// How to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Who writes; part of each line, and unlike that of any other writer on the machine.
    pub seed: u64,
    /// Lines on standard output at a time; a sixteenth of it, but at least one, goes to standard error.
    pub lines: u64,
    /// Milliseconds between two such batches; 0 for one batch and then silence.
    pub period_ms: u64,
    /// Bytes that one `write` carries at most; 0 for one line each.
    pub chunk: usize,
    /// Batches after which it ends by itself; 0 for never.
    pub batches: u64,
    /// Exit status at that end.
    pub status: u8,
}

/// What a line that was read back says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which start of the container wrote it, from 1 on.
    pub run: u32,
    /// Its number among the lines of its run and stream, from 0 on.
    pub number: u64,
    /// The last line of its run.
    pub last: bool,
}

/// The bytes of a line, with its newline.
#[must_use]
pub fn line(stream: &str, seed: u64, place: Place) -> Vec<u8> {
    let Place { run, number, last } = place;
    let mut random = Random::new(
        seed as u32 ^ (seed >> 32) as u32 ^ run.rotate_left(20) ^ (number as u32).wrapping_mul(0x9e37_79b9),
    );
    let length = random.next() % 50;
    let filler = if last { LAST.to_owned() } else { random.letters(length as usize) };
    format!("{MARK}{stream} {seed} {run} {number:08} {filler}\n").into_bytes()
}

/// Reads a line back (without its newline); `None` where it is not exactly what [`line()`] makes.
#[must_use]
pub fn place_of(bytes: &[u8], stream: &str, seed: u64) -> Option<Place> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut words = text.strip_prefix(MARK)?.strip_prefix(stream)?.strip_prefix(' ')?.splitn(4, ' ');
    let _seed = words.next()?;
    let (run, number) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let place = Place { run, number, last: words.next()? == LAST };
    line(stream, seed, place).strip_suffix(b"\n").is_some_and(|whole| whole == bytes).then_some(place)
}

impl Pace {
    /// The words of the command line that make `writer` write so.
    #[must_use]
    pub fn arguments(self) -> Vec<String> {
        let Self { seed, lines, period_ms, chunk, batches, status } = self;
        let numbers = [seed, lines, period_ms, chunk as u64, batches, u64::from(status)];
        std::iter::once("--paced".to_owned()).chain(numbers.iter().map(u64::to_string)).collect()
    }

    /// Reads those words back.
    ///
    /// # Errors
    /// When it is not six numbers that fit.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        fn number<T: FromStr>(text: &str) -> Result<T, String> {
            text.parse().map_err(|_| format!("{text} is not such a number"))
        }
        let &[seed, lines, period_ms, chunk, batches, status] = words else {
            return Err("usage: writer --paced SEED LINES PERIOD_MS CHUNK BATCHES STATUS".to_owned());
        };
        Ok(Self {
            seed: number(seed)?,
            lines: number(lines)?,
            period_ms: number(period_ms)?,
            chunk: number(chunk)?,
            batches: number(batches)?,
            status: number(status)?,
        })
    }

    /// Writes until SIGTERM or the last batch, ends both streams with their last line, and gives the exit status.
    ///
    /// # Errors
    /// The failed system call.
    pub fn run(self) -> io::Result<u8> {
        sys::on_terminate(stop)?;
        let run = fs::read_to_string(RUN_FILE).ok().and_then(|text| text.parse().ok()).unwrap_or(0) + 1;
        fs::write(RUN_FILE, run.to_string())?;
        let mut out = Numbered { fd: 1, stream: "out", pace: self, run, number: 0 };
        let mut err = Numbered { fd: 2, stream: "err", ..out };
        let mut batches = 0;
        while !stopped() {
            out.write(self.lines)?;
            err.write(self.lines.div_ceil(OUT_PER_ERR))?;
            batches += 1;
            if batches == self.batches {
                break;
            }
            pause(if self.period_ms == 0 { u64::MAX } else { self.period_ms });
        }
        let by_itself = !stopped();
        out.end()?;
        err.end()?;
        Ok(if by_itself { self.status } else { 0 })
    }
}

/// One stream on the way.
#[derive(Clone, Copy)]
struct Numbered {
    fd: i32,
    stream: &'static str,
    pace: Pace,
    run: u32,
    number: u64,
}

impl Numbered {
    fn write(&mut self, lines: u64) -> io::Result<()> {
        let mut waiting = Vec::new();
        for _ in 0..lines {
            waiting.extend_from_slice(&self.next(false));
            if waiting.len() >= self.pace.chunk {
                sys::write_all(self.fd, &waiting)?;
                waiting.clear();
            }
            if stopped() {
                break;
            }
        }
        sys::write_all(self.fd, &waiting)
    }

    fn end(&mut self) -> io::Result<()> {
        let line = self.next(true);
        sys::write_all(self.fd, &line)
    }

    fn next(&mut self, last: bool) -> Vec<u8> {
        let place = Place { run: self.run, number: self.number, last };
        self.number += 1;
        line(self.stream, self.pace.seed, place)
    }
}

extern "C" fn stop(_signal: i32) {
    STOP.store(true, Ordering::Relaxed);
}

fn stopped() -> bool {
    STOP.load(Ordering::Relaxed)
}

fn pause(mut milliseconds: u64) {
    while milliseconds > 0 && !stopped() {
        let step = milliseconds.min(LONGEST_PAUSE_MS);
        sys::sleep_ms(step as i32);
        milliseconds -= step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_its_place_and_whether_it_is_whole() {
        let places = (0..100).map(|number| Place { run: 3, number, last: number == 99 });
        for place in places {
            let bytes = line("out", 7, place);
            let text = bytes.strip_suffix(b"\n").unwrap_or_default();
            assert_eq!(place_of(text, "out", 7), Some(place));
            assert_eq!(place_of(text, "err", 7), None);
            assert_eq!(place_of(text, "out", 8), None);
            assert_eq!(place_of(&text[..text.len() - 1], "out", 7), None);
            assert_eq!(place_of(&[text, b"x"].concat(), "out", 7), None);
        }
    }

    #[test]
    fn a_pace_passes_the_command_line() {
        let pace = Pace { seed: 1, lines: 2, period_ms: 3, chunk: 4, batches: 5, status: 6 };
        let words = pace.arguments();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(Pace::parse(&words[1..]), Ok(pace));
        assert!(Pace::parse(&words).is_err());
    }
}
