//! `writev` and `pwritev2`: many segments, empty ones, long ones.

use std::io;

use super::{pieces, plain::again};
use crate::{Job, sys};

/// Writes pieces as segments of vectors of at most `most` segments, with an empty segment before every third.
fn in_vectors(
    content: &[u8],
    most: usize,
    lengths: impl Fn(&[u8]) -> Vec<&[u8]>,
    step: impl Fn(&[libc::iovec]) -> io::Result<usize>,
) -> io::Result<()> {
    sys::all(content, |rest| {
        let mut segments = Vec::with_capacity(most);
        for (index, piece) in lengths(rest).into_iter().enumerate() {
            if index % 3 == 0 {
                segments.push(sys::iovec(&piece[..0]));
            }
            segments.push(sys::iovec(piece));
            if segments.len() + 2 > most {
                break;
            }
        }
        step(&segments)
    })
}

fn cut(seed: u32, longest: usize) -> impl Fn(&[u8]) -> Vec<&[u8]> {
    move |rest| pieces(rest, seed ^ rest.len() as u32, longest).take(1024).collect()
}

/// Up to 40 segments of up to 5,000 bytes.
pub(super) fn writev(job: &Job) -> io::Result<()> {
    in_vectors(&job.out, 40, cut(job.seed, 5000), |segments| sys::writev(1, segments))?;
    in_vectors(&job.err, 5, cut(job.seed, 1500), |segments| sys::writev(2, segments))
}

/// As many segments as the kernel takes.
pub(super) fn writev_1024(job: &Job) -> io::Result<()> {
    in_vectors(&job.out, 1024, cut(job.seed, 60), |segments| sys::writev(1, segments))
}

/// Few segments, each far over a pipe's size.
pub(super) fn writev_wide(job: &Job) -> io::Result<()> {
    in_vectors(&job.out, 6, cut(job.seed, 150_000), |segments| sys::writev(1, segments))
}

pub(super) fn writev_nonblock(job: &Job) -> io::Result<()> {
    sys::set_status_flag(1, libc::O_NONBLOCK, true)?;
    in_vectors(&job.out, 200, cut(job.seed, 3000), |segments| again(1, || sys::writev(1, segments)))
}

/// A vector whose last segment cannot be read: the call writes what comes before, or fails whole.
pub(super) fn writev_partly_bad(job: &Job) -> io::Result<()> {
    let bad = libc::iovec { iov_base: 16 as *mut libc::c_void, iov_len: 1000 };
    sys::all(&job.out, |rest| {
        let segments = [sys::iovec(&rest[..rest.len().min(4096)]), bad];
        sys::writev(1, &segments).or_else(|error| {
            if error.raw_os_error() == Some(libc::EFAULT) {
                sys::writev(1, &[sys::iovec(&rest[..rest.len().min(100)])])
            } else {
                Err(error)
            }
        })
    })
}

pub(super) fn pwritev2(job: &Job) -> io::Result<()> {
    in_vectors(&job.out, 40, cut(job.seed, 5000), |segments| sys::pwritev2(1, segments, 0))?;
    in_vectors(&job.err, 5, cut(job.seed, 1500), |segments| sys::pwritev2(2, segments, 0))
}

/// With `RWF_NOWAIT`, where the file allows it.
pub(super) fn pwritev2_nowait(job: &Job) -> io::Result<()> {
    in_vectors(&job.out, 20, cut(job.seed, 2000), |segments| {
        let result = again(1, || sys::pwritev2(1, segments, libc::RWF_NOWAIT));
        match result {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => sys::pwritev2(1, segments, 0),
            result => result,
        }
    })
}
