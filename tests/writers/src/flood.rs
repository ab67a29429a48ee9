//! `writer --flood …`: lines of one length as fast as they are taken, or at a given rate; says how long it took.
//!
//! Who measures keeps a directory with it: each writer announces itself there, all begin at once when the lock of a file there
//! is gone, and each leaves its time.

use std::{
    fs::{self, File},
    io,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::sys;

/// In the directory: locked by who measures before there are writers; everyone begins when it is unlocked.
pub const GATE: &str = "gate";
/// After a writer's name: it is about to begin.
pub const READY: &str = ".ready";
/// After a writer's name: nanoseconds from its first write to the end of its last.
pub const DONE: &str = ".done";

static STOP: AtomicBool = AtomicBool::new(false);

/// How to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flood {
    /// Its name in the directory.
    pub name: String,
    /// Lines on standard output.
    pub lines: u64,
    /// Bytes of a line, with its newline.
    pub length: usize,
    /// Bytes that one `write` carries: whole lines, as many as fit, at least one.
    pub chunk: usize,
    /// Lines a second; 0 for as fast as they are taken.
    pub rate: u64,
}

impl Flood {
    /// The words of the command line that make `writer` write so.
    #[must_use]
    pub fn arguments(&self, directory: &str) -> Vec<String> {
        let Self { name, lines, length, chunk, rate } = self;
        let numbers = [*lines, *length as u64, *chunk as u64, *rate].map(|number| number.to_string());
        ["--flood".to_owned(), directory.to_owned(), name.clone()].into_iter().chain(numbers).collect()
    }

    /// Reads those words back, after `--flood DIRECTORY`.
    ///
    /// # Errors
    /// When it is not a name and four numbers that fit.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        let &[name, lines, length, chunk, rate] = words else {
            return Err("usage: writer --flood DIRECTORY NAME LINES LENGTH CHUNK RATE".to_owned());
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text} is not such a number"));
        let flood = Self {
            name: name.to_owned(),
            lines: number(lines)?,
            length: number(length)? as usize,
            chunk: number(chunk)? as usize,
            rate: number(rate)?,
        };
        if flood.length == 0 { Err("a line has one byte at least".to_owned()) } else { Ok(flood) }
    }

    /// Waits for the gate, writes, leaves its time and waits for SIGTERM, so that what relays its output can be looked at
    /// afterwards. While it waits for the gate SIGKILL alone ends it.
    ///
    /// # Errors
    /// The failed system call.
    pub fn run(&self, directory: &Path) -> io::Result<()> {
        sys::on_terminate(stop)?;
        let gate = File::open(directory.join(GATE))?;
        fs::write(directory.join(format!("{}{READY}", self.name)), "")?;
        // Asleep in the kernel: hundreds that look again and again would leave no CPU to those that are still to start.
        gate.lock_shared()?;
        drop(gate);
        let begun = Instant::now();
        self.write(begun)?;
        let elapsed = begun.elapsed().as_nanos().to_string();
        // Whoever sees the file sees all of it.
        let unfinished = directory.join(format!("{}.part", self.name));
        fs::write(&unfinished, elapsed)?;
        fs::rename(unfinished, directory.join(format!("{}{DONE}", self.name)))?;
        while !stopped() {
            sys::sleep_ms(1000);
        }
        Ok(())
    }

    fn write(&self, begun: Instant) -> io::Result<()> {
        let line: Vec<u8> = (b'a'..=b'z').cycle().take(self.length - 1).chain([b'\n']).collect();
        let at_once = (self.chunk / self.length).max(1) as u64;
        let chunk = line.repeat(at_once as usize);
        let mut written = 0;
        while written < self.lines && !stopped() {
            let due = match self.rate {
                0 => self.lines,
                rate => self.lines.min((begun.elapsed().as_nanos() * u128::from(rate) / 1_000_000_000) as u64),
            };
            if written == due {
                thread::sleep(Duration::from_micros(500));
            }
            while written < due && !stopped() {
                let lines = at_once.min(due - written);
                sys::write_all(1, &chunk[..lines as usize * self.length])?;
                written += lines;
            }
        }
        Ok(())
    }
}

extern "C" fn stop(_signal: i32) {
    STOP.store(true, Ordering::Relaxed);
}

fn stopped() -> bool {
    STOP.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_passes_the_command_line() {
        let flood = Flood { name: "a".to_owned(), lines: 1, length: 2, chunk: 3, rate: 4 };
        let words = flood.arguments("/dir");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(Flood::parse(&words[2..]), Ok(flood));
        assert!(Flood::parse(&words).is_err());
        assert!(Flood::parse(&["a", "1", "0", "1", "1"]).is_err());
    }
}
