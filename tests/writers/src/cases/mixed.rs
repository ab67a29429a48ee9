//! Written and moved bytes in the same stream: the order must be the pipe's.

use std::io;

use super::{moved, pieces};
use crate::{Job, sys};

fn alternate(content: &[u8], seed: u32, longest: usize, first_moves: bool) -> io::Result<()> {
    for (index, piece) in pieces(content, seed, longest).enumerate() {
        if (index % 2 == 0) == first_moves {
            moved::send_all(1, piece)?;
        } else {
            sys::write_all(1, piece)?;
        }
    }
    Ok(())
}

pub(super) fn write_then_sendfile(job: &Job) -> io::Result<()> {
    alternate(&job.out, job.seed, 4000, false)
}

pub(super) fn sendfile_then_write(job: &Job) -> io::Result<()> {
    alternate(&job.out, job.seed, 4000, true)
}

/// One piece by each way in turn.
pub(super) fn everything(job: &Job) -> io::Result<()> {
    for (index, piece) in pieces(&job.out, job.seed, 20_000).enumerate() {
        match index % 6 {
            0 => sys::write_all(1, piece)?,
            1 => moved::send_all(1, piece)?,
            2 => sys::all(piece, |rest| sys::writev(1, &[sys::iovec(rest)]))?,
            3 => moved::splice_through(piece, 1)?,
            4 => moved::vmsplice_all(piece, 0)?,
            _ => piece.chunks(7).take(200).chain(piece.get(1400..)).try_for_each(|part| sys::write_all(1, part))?,
        }
    }
    Ok(())
}

/// The switch happens while the pipe is full of written bytes.
pub(super) fn full_pipe(job: &Job) -> io::Result<()> {
    let (written, moved) = job.out.split_at(job.out.len() / 2);
    sys::write_all(1, written)?;
    moved::send_all(1, moved)
}

/// A child moves what comes between two writes of its parent.
pub(super) fn children(job: &Job) -> io::Result<()> {
    for (fd, content) in [(1, &job.out), (2, &job.err)] {
        for (index, piece) in pieces(content, job.seed, 9000).enumerate() {
            if index % 2 == 0 {
                sys::write_all(fd, piece)?;
            } else {
                sys::wait(sys::fork(|| moved::send_all(fd, piece))?)?;
            }
        }
    }
    Ok(())
}

/// One stream is written, the other moved.
pub(super) fn streams(job: &Job) -> io::Result<()> {
    let mut err = pieces(&job.err, job.seed, 5000);
    for piece in pieces(&job.out, job.seed, 5000) {
        sys::write_all(1, piece)?;
        if let Some(piece) = err.next() {
            moved::send_all(2, piece)?;
        }
    }
    err.try_for_each(|piece| moved::send_all(2, piece))
}
