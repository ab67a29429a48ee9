//! A program that does nothing but write a file, the way the agent's file sink does: as much a write, disk space taken ahead, and
//! bytes that lie to a cache line as they will in the file.

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::time::{ClockId, clock_gettime};

/// Bytes of one write, as the agent's file sink has them. No power of two, because records are not: pages are written in part.
const PIECE: usize = (512 << 10) + 100;
/// Bytes of a cache line. What is written lies to it as it will in the file, as with the agent's file sink.
const LINE: usize = 64;
/// Disk space that is taken at a time.
const AHEAD: u64 = 8 << 20;

/// Bytes of what it copies lines from: more than a processor core's own caches, because the agent's lines come from another core.
const SOURCE: usize = 16 << 20;

/// A file of records.
#[derive(Clone, Copy)]
pub(in crate::bench) struct Records {
    pub(in crate::bench) count: u64,
    /// Bytes of all of them.
    pub(in crate::bench) length: u64,
    /// Bytes of the line in each.
    pub(in crate::bench) line: usize,
}

/// CPU seconds of one thread.
#[derive(Clone, Copy, Default)]
pub(in crate::bench) struct Cpu {
    /// To append as many bytes as the records have to a new file.
    pub(in crate::bench) append: f64,
    /// To look whether a line has anything to escape, to copy its record together from it and what is the same for all, and to append them.
    pub(in crate::bench) encode_and_append: f64,
}

impl Records {
    /// Writes as much twice, to a file in `directory` that is deleted afterwards.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(in crate::bench) fn write(self, directory: &Path) -> Result<Cpu> {
        let path = directory.join("plain");
        let alone = append(&path, self.length, |_| {})?;
        let source = vec![b'x'; SOURCE];
        let size = usize::try_from(self.length / self.count.max(1)).context("records too long")?;
        let same = vec![b'y'; size.saturating_sub(self.line)];
        let mut lines = source.chunks_exact(self.line).cycle();
        let encode_and_append = append(&path, self.length, |bytes| {
            for record in bytes.chunks_exact_mut(size) {
                let (others, line) = record.split_at_mut(same.len());
                let from = lines.next().unwrap_or_default();
                others.copy_from_slice(&same);
                black_box(is_plain(from));
                line.copy_from_slice(from);
            }
        })?;
        Ok(Cpu { append: alone, encode_and_append })
    }
}

/// Writes a file of so many bytes and deletes it, so that its memory is there for whatever writes files next.
///
/// # Errors
/// When it cannot be written.
pub(in crate::bench) fn touch(length: u64) -> Result<()> {
    let directory = tempfile::Builder::new().prefix("ct-plain-").tempdir().context("no directory to write to")?;
    append(&directory.path().join("touched"), length, |_| {}).map(drop)
}

/// Whether it stands in a JSON string as it is, and is ASCII: as a signed number what is not is less than a space, too.
pub(in crate::bench) fn is_plain(line: &[u8]) -> bool {
    line.iter().fold(true, |plain, byte| plain & (byte.cast_signed() >= 0x20 && *byte != b'"' && *byte != b'\\'))
}

/// Appends `length` bytes to a new file, each piece once `make` has made it.
fn append(path: &Path, length: u64, mut make: impl FnMut(&mut [u8])) -> Result<f64> {
    let mut plain = Plain::create(path)?;
    let before = cpu();
    while plain.done < length {
        #[expect(clippy::cast_possible_truncation, reason = "at most a piece")]
        let next = (length - plain.done).min(PIECE as u64) as usize;
        make(plain.piece(next)?);
        plain.append()?;
    }
    let took = cpu() - before;
    std::fs::remove_file(path).context("the plain file stays")?;
    Ok(took)
}

/// A file that pieces are appended to.
struct Plain {
    file: File,
    /// A piece, and what it may begin later than the memory does.
    bytes: Vec<u8>,
    /// Where the piece begins in the memory, and its length.
    begin: usize,
    filled: usize,
    /// Bytes in the file, and disk space taken.
    done: u64,
    taken: u64,
}

impl Plain {
    fn create(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().append(true).create_new(true).open(path).context("no plain file")?;
        let bytes = vec![b'x'; PIECE + LINE];
        let mut plain = Self { file, bytes, begin: 0, filled: 0, done: 0, taken: 0 };
        plain.line_up();
        Ok(plain)
    }

    /// The piece, of so many bytes.
    fn piece(&mut self, length: usize) -> Result<&mut [u8]> {
        self.filled = length;
        self.bytes.get_mut(self.begin..self.begin + length).context("longer than a piece")
    }

    /// Appends it.
    fn append(&mut self) -> Result<()> {
        let end = self.done + self.filled as u64;
        // The last of it is not written to, as the agent's is not; the file is deleted with it.
        if end > self.taken && fallocate(&self.file, FallocateFlags::KEEP_SIZE, end, AHEAD).is_ok() {
            self.taken = end + AHEAD;
        }
        self.file.write_all(&self.bytes[self.begin..][..self.filled]).context("the plain file cannot be written")?;
        self.done = end;
        self.line_up();
        Ok(())
    }

    /// Has the next piece begin where it lies to a cache line as it will in the file.
    fn line_up(&mut self) {
        #[expect(clippy::cast_possible_truncation, reason = "less than a cache line")]
        let offset = (self.done % LINE as u64) as usize;
        self.begin = offset.wrapping_sub(self.bytes.as_ptr().addr()) % LINE;
    }
}

/// CPU seconds of this thread.
#[expect(clippy::cast_precision_loss, reason = "seconds for people")]
fn cpu() -> f64 {
    cpu_nanos() as f64 / 1e9
}

/// CPU time of this thread, in nanoseconds.
pub(in crate::bench) fn cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}
