//! A program that does nothing but write a file, the way the agent's file sink does: as much a write, and disk space taken ahead.

use std::fs::OpenOptions;
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

/// CPU seconds of one thread that appends `length` bytes to a new file in `directory`.
///
/// # Errors
/// When it cannot be written.
pub(in crate::bench) fn write(directory: &Path, length: u64) -> Result<f64> {
    let path = directory.join("plain");
    let mut file = OpenOptions::new().append(true).create_new(true).open(&path).context("no plain file")?;
    let bytes = vec![b'x'; PIECE + LINE];
    let before = cpu();
    let (mut left, mut taken) = (length, 0);
    while left > 0 {
        let next = left.min(PIECE as u64);
        let end = length - left + next;
        // The last of it is not written to, as the agent's is not; the file is deleted with it.
        if end > taken && fallocate(&file, FallocateFlags::KEEP_SIZE, end, AHEAD).is_ok() {
            taken = end + AHEAD;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most a piece, and less than a cache line")]
        let (next_bytes, offset) = (next as usize, ((length - left) % LINE as u64) as usize);
        let begin = offset.wrapping_sub(bytes.as_ptr().addr()) % LINE;
        file.write_all(&bytes[begin..begin + next_bytes]).context("the plain file cannot be written")?;
        left -= next;
    }
    let took = cpu() - before;
    std::fs::remove_file(&path).context("the plain file stays")?;
    Ok(took)
}

/// CPU seconds of this thread.
#[expect(clippy::cast_precision_loss, reason = "seconds for people")]
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
