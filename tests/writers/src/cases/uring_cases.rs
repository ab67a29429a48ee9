//! `io_uring` in the ways in which programs use it for output.

use std::io;

use super::{
    moved, pieces,
    uring::{ASYNC, LINK, Request, Ring, SPLICE, SQPOLL, WRITE, WRITEV},
};
use crate::{Job, sys};

/// The current position, as pipes need it.
const HERE: u64 = u64::MAX;

fn write_request(bytes: &[u8], flags: u8) -> Request {
    Request {
        opcode: WRITE,
        flags,
        fd: 1,
        offset: HERE,
        address: bytes.as_ptr() as u64,
        length: bytes.len() as u32,
        ..Request::default()
    }
}

fn one_by_one(job: &Job, ring: &Ring, flags: u8) -> io::Result<()> {
    for piece in pieces(&job.out, job.seed, 9000) {
        sys::all(piece, |rest| ring.one(write_request(rest, flags)))?;
    }
    Ok(())
}

pub(super) fn write(job: &Job) -> io::Result<()> {
    one_by_one(job, &Ring::new(0)?, 0)
}

/// Many linked requests with one call; each fits into an atomic write, so that none is short.
pub(super) fn batch(job: &Job) -> io::Result<()> {
    let ring = Ring::new(0)?;
    let pieces: Vec<_> = pieces(&job.out, job.seed, 1000).collect();
    for batch in pieces.chunks(Ring::ENTRIES) {
        let last = batch.len() - 1;
        let requests: Vec<_> = batch
            .iter()
            .enumerate()
            .map(|(index, piece)| write_request(piece, if index == last { 0 } else { LINK }))
            .collect();
        let results = ring.run(&requests)?;
        if results.iter().zip(batch).any(|(&result, piece)| result as usize != piece.len()) {
            return Err(io::Error::other("a linked request was cut short"));
        }
    }
    Ok(())
}

/// By the kernel's worker threads.
pub(super) fn worker(job: &Job) -> io::Result<()> {
    one_by_one(job, &Ring::new(0)?, ASYNC)
}

/// By the kernel's polling thread, mostly without any call of ours.
pub(super) fn polled(job: &Job) -> io::Result<()> {
    one_by_one(job, &Ring::new(SQPOLL)?, 0)
}

pub(super) fn writev(job: &Job) -> io::Result<()> {
    let ring = Ring::new(0)?;
    sys::all(&job.out, |rest| {
        let segments: Vec<_> = pieces(rest, job.seed, 2500).take(20).map(sys::iovec).collect();
        ring.one(Request {
            opcode: WRITEV,
            fd: 1,
            offset: HERE,
            address: segments.as_ptr() as u64,
            length: segments.len() as u32,
            ..Request::default()
        })
    })
}

pub(super) fn splice(job: &Job) -> io::Result<()> {
    let ring = Ring::new(0)?;
    let file = sys::file_of(&job.out)?;
    let mut position = 0;
    sys::all(&job.out, |rest| {
        let length = rest.len().min(30_000) as u32;
        let request = Request {
            opcode: SPLICE,
            fd: 1,
            offset: HERE,
            address: position,
            length,
            splice_fd: file,
            ..Request::default()
        };
        let count = ring.one(request)?;
        position += count as u64;
        Ok(count)
    })
}

/// In turn with plain writes and `sendfile`.
pub(super) fn mixed(job: &Job) -> io::Result<()> {
    let ring = Ring::new(0)?;
    for (index, piece) in pieces(&job.out, job.seed, 12_000).enumerate() {
        match index % 3 {
            0 => sys::write_all(1, piece)?,
            1 => sys::all(piece, |rest| ring.one(write_request(rest, 0)))?,
            _ => moved::send_all(1, piece)?,
        }
    }
    Ok(())
}
