//! The measured program: the same code wherever it runs, one sample a line.
//!
//! It holds both ends of a pipe as fd 1 and fd 0. In a container's cgroup that pipe is the container's output, and every
//! other pipe is not. Standard error has to be a file: that is where the samples go, and a file is no output.

use std::fs;
use std::hint::black_box;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{read, write};
use rustix::process::getppid;
use rustix::stdio::{stdin, stdout};
use rustix::thread::{CpuSet, sched_setaffinity};

/// How long the agent has after a sample that it captures, so that the next one finds its ring buffer empty.
const PAUSE: Duration = Duration::from_millis(8);

/// What the measured program is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Become a process of this cgroup first, as a runtime would
    #[arg(long)]
    cgroup: Option<PathBuf>,
    /// The CPU to run on
    #[arg(long)]
    cpu: usize,
    /// Samples of each operation
    #[arg(long)]
    samples: u32,
    /// Only this operation
    #[arg(long)]
    only: Option<Operation>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum)]
pub enum Operation {
    /// `getppid`: a call that does next to nothing.
    Getppid,
    /// `write` of 100 bytes to `/dev/null`.
    WriteNull,
    /// `read` of 100 bytes from `/dev/zero`.
    ReadZero,
    /// `write` and `read` of 100 bytes through a pipe that is nobody's output.
    Pipe100,
    /// The same with 8 KiB.
    Pipe8k,
    /// The same through the pipe that is fd 1: a container's output, if this is a container.
    Output100,
    /// The same with 8 KiB.
    Output8k,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Getppid, Self::WriteNull, Self::ReadZero, Self::Pipe100, Self::Pipe8k, Self::Output100, Self::Output8k];

    /// Name on a sample's line and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Getppid => "getppid",
            Self::WriteNull => "write-null",
            Self::ReadZero => "read-zero",
            Self::Pipe100 => "pipe100",
            Self::Pipe8k => "pipe8k",
            Self::Output100 => "output100",
            Self::Output8k => "output8k",
        }
    }

    /// Bytes that one operation writes to fd 1.
    #[must_use]
    pub fn output(self) -> u64 {
        match self {
            Self::Output100 => 100,
            Self::Output8k => 8192,
            _ => 0,
        }
    }

    /// Operations in one sample: about a millisecond, and far less output than a container's share of the ring buffer.
    fn repetitions(self) -> u32 {
        match self {
            Self::Getppid | Self::WriteNull | Self::ReadZero => 4000,
            Self::Pipe100 | Self::Output100 => 1000,
            Self::Pipe8k | Self::Output8k => 200,
        }
    }
}

/// One sample: how long so many operations took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// What was done.
    pub operation: Operation,
    /// Nanoseconds for one.
    pub nanoseconds: f64,
    /// Bytes that were written to fd 1, in all.
    pub output: u64,
}

impl Sample {
    /// Reads a line of the measured program.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, nanoseconds, output] = words[..] else { bail!("not a sample: {line}") };
        let operation = Operation::ALL.into_iter().find(|operation| operation.name() == name);
        Ok(Self {
            operation: operation.with_context(|| format!("not an operation: {name}"))?,
            nanoseconds: nanoseconds.parse()?,
            output: output.parse()?,
        })
    }
}

/// Runs the operations and writes their samples to standard error.
///
/// # Errors
/// The failed system call.
pub fn run(options: &Options) -> Result<()> {
    if let Some(cgroup) = &options.cgroup {
        fs::write(cgroup.join("cgroup.procs"), "0").context("the cgroup cannot be entered")?;
        // The hook on exec is to find the streams in place.
        let this = std::env::current_exe()?;
        let arguments =
            ["--cpu".to_owned(), options.cpu.to_string(), "--samples".to_owned(), options.samples.to_string()];
        let only = options.only.map(|only| ["--only", only.name()]);
        return Err(Command::new(this).arg("calls").args(arguments).args(only.into_iter().flatten()).exec().into());
    }
    let mut cpus = CpuSet::new();
    cpus.set(options.cpu);
    sched_setaffinity(None, &cpus).context("not allowed on this CPU")?;

    let null = open("/dev/null", OFlags::WRONLY, Mode::empty())?;
    let zero = open("/dev/zero", OFlags::RDONLY, Mode::empty())?;
    let (reader, writer) = rustix::pipe::pipe()?;
    let mut lines = vec![b'.'; 8192];
    lines.iter_mut().skip(99).step_by(100).for_each(|byte| *byte = b'\n');
    lines[8191] = b'\n';
    let mut buffer = vec![0; 8192];

    // Turns of all operations and not one after the other: what disturbs the machine for a while disturbs each a bit.
    for turn in 0..=options.samples {
        for operation in Operation::ALL {
            if options.only.is_some_and(|only| only != operation) {
                continue;
            }
            let repetitions = operation.repetitions();
            let begun = Instant::now();
            for _ in 0..repetitions {
                match operation {
                    Operation::Getppid => drop(black_box(getppid())),
                    Operation::WriteNull => drop(write(&null, &lines[..100])?),
                    Operation::ReadZero => drop(read(&zero, &mut buffer[..100])?),
                    Operation::Pipe100 => pass(writer.as_fd(), reader.as_fd(), &lines[..100], &mut buffer)?,
                    Operation::Pipe8k => pass(writer.as_fd(), reader.as_fd(), &lines, &mut buffer)?,
                    Operation::Output100 => pass(stdout(), stdin(), &lines[..100], &mut buffer)?,
                    Operation::Output8k => pass(stdout(), stdin(), &lines, &mut buffer)?,
                }
            }
            let took = begun.elapsed();
            let output = operation.output() * u64::from(repetitions);
            if output > 0 {
                sleep(PAUSE);
            }
            // The first turn warms up, and its time does not count; its bytes do.
            let each = if turn == 0 { f64::INFINITY } else { took.as_secs_f64() * 1e9 / f64::from(repetitions) };
            writeln!(io::stderr(), "{} {each} {output}", operation.name())?;
        }
    }
    Ok(())
}

fn pass(writer: BorrowedFd<'_>, reader: BorrowedFd<'_>, bytes: &[u8], buffer: &mut [u8]) -> Result<()> {
    let written = write(writer, bytes)?;
    let taken = read(reader, buffer)?;
    ensure!(written == bytes.len() && taken == written, "{written} bytes written, {taken} read");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_read() {
        let sample = Sample { operation: Operation::Pipe8k, nanoseconds: 1234.5, output: 0 };
        assert_eq!(Sample::parse("pipe8k 1234.5 0").ok(), Some(sample));
        assert!(Sample::parse("pipe8k 1234.5").is_err());
        assert!(Sample::parse("sleep 1 0").is_err());
    }
}
