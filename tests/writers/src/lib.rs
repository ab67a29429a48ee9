//! Programs that write in every way a program can, and what each of them must have written.
//!
//! The binary `writer <case> [seed]` runs one [`Case`] inside a test container; the fidelity runner links this library to
//! know the exact bytes that the same case and seed produce. Content depends on nothing else, so a difference is
//! readable: every line carries its stream and number.

#![expect(
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "descriptors and pids are small and not negative where they become arguments of a system call"
)]

mod cases;
mod content;
pub mod flood;
pub mod numbered;
pub mod paced;
mod sys;

use std::io;

pub use cases::CASES;
pub use content::{Content, FOREIGN, lines_of_writer};

/// A kernel facility that a case depends on, so that a limit of an attach mode can be told from a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Plain 64-bit calls of the `write` family.
    Nothing,
    /// Bytes that never pass a `write` call: the runtime's relay has to be watched.
    Relay,
    /// Calls by a number of another system call table.
    OtherTable,
    /// A look at calls when they enter, and not only when they return.
    Entry,
}

/// Which order of the bytes of a stream is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The same bytes in the same order.
    Exact,
    /// Writers run at once: each one's lines in its order, all lines whole; how they interleave is not promised.
    PerWriter,
}

/// One way to write.
pub struct Case {
    /// Name on the command line and in the table.
    pub name: &'static str,
    /// Bytes that end up on the container's standard output.
    pub stdout: Content,
    /// Bytes that end up on the container's standard error.
    pub stderr: Content,
    /// What capture needs for it.
    pub needs: Needs,
    /// Which order is promised.
    pub order: Order,
    pub(crate) run: fn(&Job) -> io::Result<()>,
}

/// A case with the bytes it has to write.
pub(crate) struct Job {
    pub(crate) case: &'static Case,
    pub(crate) seed: u32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: Vec<u8>,
}

/// Finds a case by its name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.name == name)
}

impl Case {
    /// Writes this case's bytes in its own way.
    ///
    /// # Errors
    /// The failed system call. Bytes may have been written by then.
    pub fn run(&'static self, seed: u32) -> io::Result<()> {
        (self.run)(&self.job(seed))
    }

    /// Writes a part of this case's bytes with plain `write`: what an executed child does.
    ///
    /// # Errors
    /// The failed system call, or a range outside of the content.
    pub fn write_part(&'static self, seed: u32, fd: i32, from: usize, to: usize) -> io::Result<()> {
        let job = self.job(seed);
        let content = if fd == 2 { &job.err } else { &job.out };
        let part = content.get(from..to).ok_or_else(|| io::Error::other("no such part of the content"))?;
        sys::write_all(fd, part)
    }

    fn job(&'static self, seed: u32) -> Job {
        Job { case: self, seed, out: self.stdout.bytes("out", seed), err: self.stderr.bytes("err", seed) }
    }
}
