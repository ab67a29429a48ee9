//! Records on standard output.

mod config;

use std::io::{self, IoSlice, Write};
use std::ops::Range;

pub use self::config::ConsoleConfig;
use super::delivery::{Receipt, Sink, SinkError};
use super::encode::{Encoder, PIECE};
use super::gathered::Gathered;
use crate::config::SinkName;
use crate::pipeline::record::Record;

/// Writes to standard output.
#[derive(Debug)]
pub struct Console {
    name: SinkName,
    encoder: Encoder,
    /// For what is encoded.
    memory: Vec<u8>,
}

impl Console {
    /// A console that writes with `encoder`.
    #[must_use]
    pub fn new(name: SinkName, encoder: Encoder) -> Self {
        Self { name, encoder, memory: Vec::new() }
    }
}

impl Sink for Console {
    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn write(&mut self, records: &[Record]) -> Result<Receipt, SinkError> {
        let mut gathered = Gathered::new(std::mem::take(&mut self.memory));
        let mut begun = 0;
        let mut outcome = Ok(Receipt::default());
        for (index, record) in records.iter().enumerate() {
            gathered.add(record, &mut self.encoder);
            if gathered.len() >= PIECE || index + 1 == records.len() {
                if let Err(error) = write_all(&mut gathered.slices(0..gathered.len())) {
                    outcome = Err(failed(&error, begun..records.len()));
                    break;
                }
                gathered.clear(0);
                begun = index + 1;
            }
        }
        self.memory = gathered.into_memory();
        outcome
    }

    fn takes_lines_together(&self) -> bool {
        true
    }

    fn has_priority(&self) -> bool {
        true
    }

    fn check(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Writes to the descriptor itself: the standard handle would look for newlines in all of it.
fn write_all(mut bytes: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::writev(rustix::stdio::stdout(), bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut bytes, written),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => wait_until_writable(),
            Err(error) => return Err(error.into()),
        }
    }
    io::stdout().flush()
}

/// What an error is for the records that are not written.
fn failed(error: &io::Error, left: Range<usize>) -> SinkError {
    let cause = format!("standard output: {error}");
    match error.kind() {
        io::ErrorKind::BrokenPipe => SinkError::Closed { cause },
        _ if left.start == 0 => SinkError::Retry { cause, after: None },
        _ => SinkError::Partial { cause, after: None, left: left.collect(), refused: Vec::new() },
    }
}

/// Standard output may have been made non-blocking by whoever shares it.
fn wait_until_writable() {
    use rustix::event::{PollFd, PollFlags, poll};
    let stdout = rustix::stdio::stdout();
    let _ = poll(&mut [PollFd::new(&stdout, PollFlags::OUT)], None);
}
