//! Bytes that reach the output without a `write`: moved by the kernel between files and pipes.

use std::io;

use super::pieces;
use crate::{Job, sys};

/// `sendfile` from a file's current position.
pub(super) fn send(from: i32, to: i32, length: usize) -> io::Result<usize> {
    sys::call(libc::SYS_sendfile, [to as usize, from as usize, 0, length, 0, 0])
}

pub(super) fn send_all(to: i32, content: &[u8]) -> io::Result<()> {
    let file = sys::file_of(content)?;
    sys::all(content, |rest| send(file, to, rest.len()))?;
    sys::close(file);
    Ok(())
}

/// `splice` without offsets.
pub(super) fn splice_once(from: i32, to: i32, length: usize) -> io::Result<usize> {
    sys::call(libc::SYS_splice, [from as usize, 0, to as usize, 0, length, 0])
}

pub(super) fn sendfile(job: &Job) -> io::Result<()> {
    pieces(&job.out, job.seed, 30_000).try_for_each(|piece| send_all(1, piece))
}

pub(super) fn sendfile_stderr(job: &Job) -> io::Result<()> {
    pieces(&job.err, job.seed, 30_000).try_for_each(|piece| send_all(2, piece))
}

/// A MiB asked for in one call, with an offset of its own.
pub(super) fn sendfile_1m(job: &Job) -> io::Result<()> {
    let file = sys::file_of(&job.out)?;
    let mut offset: i64 = 0;
    sys::all(&job.out, |rest| {
        sys::call(libc::SYS_sendfile, [1, file as usize, &raw mut offset as usize, rest.len(), 0, 0])
    })
}

pub(super) fn splice_file(job: &Job) -> io::Result<()> {
    let file = sys::file_of(&job.out)?;
    sys::all(&job.out, |rest| splice_once(file, 1, rest.len().min(50_000)))
}

/// Moves content from a pipe of our own to the output.
pub(super) fn splice_through(content: &[u8], to: i32) -> io::Result<()> {
    let (read, write) = sys::pipe()?;
    for piece in content.chunks(40_000) {
        sys::write_all(write, piece)?;
        sys::all(piece, |rest| splice_once(read, to, rest.len()))?;
    }
    sys::close(read);
    sys::close(write);
    Ok(())
}

pub(super) fn splice_pipe(job: &Job) -> io::Result<()> {
    splice_through(&job.out, 1)
}

fn vmsplice_once(segment: &[u8], flags: u32) -> io::Result<usize> {
    let segment = [sys::iovec(segment)];
    sys::call(libc::SYS_vmsplice, [1, segment.as_ptr() as usize, 1, flags as usize, 0, 0])
}

/// The pages themselves go into the pipe; they are never changed afterwards.
pub(super) fn vmsplice_all(content: &[u8], flags: u32) -> io::Result<()> {
    let start = sys::map_copy(content, 0)?;
    // SAFETY: mapped above with this length and never unmapped.
    let memory = unsafe { std::slice::from_raw_parts(start, content.len()) };
    sys::all(memory, |rest| vmsplice_once(rest, flags))
}

pub(super) fn vmsplice(job: &Job) -> io::Result<()> {
    pieces(&job.out, job.seed, 20_000).try_for_each(|piece| vmsplice_all(piece, 0))
}

pub(super) fn vmsplice_gift(job: &Job) -> io::Result<()> {
    job.out.chunks(65_536).try_for_each(|piece| vmsplice_all(piece, libc::SPLICE_F_GIFT))
}

/// Duplicates a pipe's content into the output, then reads it away.
pub(super) fn tee(job: &Job) -> io::Result<()> {
    let (read, write) = sys::pipe()?;
    for piece in pieces(&job.out, job.seed, 30_000) {
        sys::write_all(write, piece)?;
        let mut rest = piece;
        while !rest.is_empty() {
            let count = sys::call(libc::SYS_tee, [read as usize, 1, rest.len(), 0, 0, 0])?;
            sys::read_exact(read, count)?;
            rest = &rest[count..];
        }
    }
    Ok(())
}

/// Far more than 64 KiB in one call, through pipes made bigger.
pub(super) fn through_big_pipe(job: &Job) -> io::Result<()> {
    const SIZE: usize = 256 * 1024;
    let (read, write) = sys::pipe()?;
    for fd in [1, write] {
        sys::fcntl(fd, libc::F_SETPIPE_SZ, SIZE as i32)?;
    }
    for piece in job.out.chunks(SIZE) {
        sys::write_all(write, piece)?;
        sys::all(piece, |rest| splice_once(read, 1, rest.len()))?;
    }
    Ok(())
}
