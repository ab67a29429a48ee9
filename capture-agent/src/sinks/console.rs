//! Records on standard output.

mod config;

use std::io::{self, Write};
use std::ops::Range;

pub use self::config::ConsoleConfig;
use super::delivery::{Receipt, Sink, SinkError};
use super::encode::{Encoder, PIECE};
use crate::config::SinkName;
use crate::pipeline::record::Record;

/// Writes to standard output.
#[derive(Debug)]
pub struct Console {
    name: SinkName,
    encoder: Encoder,
    buffer: Vec<u8>,
}

impl Console {
    /// A console that writes with `encoder`.
    #[must_use]
    pub fn new(name: SinkName, encoder: Encoder) -> Self {
        Self { name, encoder, buffer: Vec::new() }
    }
}

impl Sink for Console {
    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn write(&mut self, records: &[Record]) -> Result<Receipt, SinkError> {
        self.buffer.clear();
        let mut begun = 0;
        for (index, record) in records.iter().enumerate() {
            self.encoder.encode(record, &mut self.buffer);
            if self.buffer.len() >= PIECE || index + 1 == records.len() {
                self.flush().map_err(|error| failed(&error, begun..records.len()))?;
                self.buffer.clear();
                begun = index + 1;
            }
        }
        Ok(Receipt::default())
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

impl Console {
    fn flush(&mut self) -> io::Result<()> {
        // The descriptor itself: the standard handle would look for newlines in all of it.
        let mut rest = &self.buffer[..];
        while !rest.is_empty() {
            match rustix::io::write(rustix::stdio::stdout(), rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written..],
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => wait_until_writable(),
                Err(error) => return Err(error.into()),
            }
        }
        io::stdout().flush()
    }
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
