//! `write`, as programs use it and as they rarely do.

use std::{
    io, ptr,
    sync::atomic::{AtomicPtr, AtomicUsize, Ordering},
};

use super::pieces;
use crate::{Job, sys};

/// Pieces of up to 9,000 bytes, the streams in turn.
pub(super) fn write(job: &Job) -> io::Result<()> {
    let mut err = pieces(&job.err, job.seed, 3000);
    for piece in pieces(&job.out, job.seed, 9000) {
        sys::write_all(1, piece)?;
        if let Some(piece) = err.next() {
            sys::write_all(2, piece)?;
        }
    }
    err.try_for_each(|piece| sys::write_all(2, piece))
}

pub(super) fn write_8k(job: &Job) -> io::Result<()> {
    job.out.chunks(8192).try_for_each(|piece| sys::write_all(1, piece))
}

pub(super) fn one_write(job: &Job) -> io::Result<()> {
    whole(sys::write(1, &job.out)?, job.out.len())
}

pub(super) fn one_write_to_stderr(job: &Job) -> io::Result<()> {
    whole(sys::write(2, &job.err)?, job.err.len())
}

fn whole(count: usize, length: usize) -> io::Result<()> {
    if count == length { Ok(()) } else { Err(io::Error::other("a blocking write was short")) }
}

pub(super) fn one_byte(job: &Job) -> io::Result<()> {
    job.out.chunks(1).try_for_each(|byte| sys::write_all(1, byte))
}

/// A write of nothing before and after every piece.
pub(super) fn empty_writes(job: &Job) -> io::Result<()> {
    for (fd, content) in [(1, &job.out), (2, &job.err)] {
        for piece in pieces(content, job.seed, 200) {
            sys::write(fd, b"")?;
            sys::write_all(fd, piece)?;
        }
        sys::write(fd, b"")?;
    }
    Ok(())
}

/// Without blocking: short writes and EAGAIN.
pub(super) fn nonblock(job: &Job) -> io::Result<()> {
    sys::set_status_flag(1, libc::O_NONBLOCK, true)?;
    sys::all(&job.out, |rest| again(1, || sys::write(1, &rest[..rest.len().min(300_000)])))
}

/// Retries a call on a non-blocking descriptor, at first at once so that EAGAIN is really returned.
pub(super) fn again(fd: i32, mut step: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match step() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sys::wait_writable(fd)?,
            result => return result,
        }
    }
}

extern "C" fn nothing(_: libc::c_int) {}

static PIECE: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static LENGTH: AtomicUsize = AtomicUsize::new(0);

extern "C" fn write_piece(_: libc::c_int) {
    // A failure shows as missing bytes.
    let _ = sys::write_raw(1, PIECE.load(Ordering::SeqCst), LENGTH.load(Ordering::SeqCst));
}

fn handle(signal: i32, handler: extern "C" fn(libc::c_int)) {
    // SAFETY: both handlers only load atomics and write; a zeroed sigaction has no flags and an empty mask.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        libc::sigaction(signal, &raw const action, ptr::null_mut());
    }
}

/// Big writes that a timer's signals cut short.
pub(super) fn interrupted(job: &Job) -> io::Result<()> {
    handle(libc::SIGALRM, nothing);
    let every = libc::timeval { tv_sec: 0, tv_usec: 500 };
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: one valid itimerval.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, ptr::null_mut()) };
    sys::write_all(1, &job.out)
}

/// Every other piece is written by a signal handler.
pub(super) fn signal_handler(job: &Job) -> io::Result<()> {
    handle(libc::SIGUSR1, write_piece);
    for (index, piece) in pieces(&job.out, job.seed, 400).enumerate() {
        if index % 2 == 0 {
            sys::write_all(1, piece)?;
        } else {
            PIECE.store(piece.as_ptr().cast_mut(), Ordering::SeqCst);
            LENGTH.store(piece.len(), Ordering::SeqCst);
            // SAFETY: the handler is installed; raise returns after it has run.
            unsafe { libc::raise(libc::SIGUSR1) };
        }
    }
    Ok(())
}

/// One write each, then `exit_group` without a look back.
pub(super) fn exit_at_once(job: &Job) -> io::Result<()> {
    sys::write(1, &job.out)?;
    sys::write(2, &job.err)?;
    sys::exit_now(0)
}

/// Packet mode: every read of the pipe returns one write.
pub(super) fn packets(job: &Job) -> io::Result<()> {
    sys::set_status_flag(1, libc::O_DIRECT, true)?;
    pieces(&job.out, job.seed, 6000).try_for_each(|piece| sys::write_all(1, piece))
}

/// A pipe of one page.
pub(super) fn small_pipe(job: &Job) -> io::Result<()> {
    sys::fcntl(1, libc::F_SETPIPE_SZ, 4096)?;
    pieces(&job.out, job.seed, 20_000).try_for_each(|piece| sys::write_all(1, piece))
}

/// A pipe of a MiB, so that much is in flight.
pub(super) fn big_pipe(job: &Job) -> io::Result<()> {
    sys::fcntl(1, libc::F_SETPIPE_SZ, 1 << 20)?;
    pieces(&job.out, job.seed, 900_000).try_for_each(|piece| sys::write_all(1, piece))
}

/// After giving up root.
pub(super) fn nobody(job: &Job) -> io::Result<()> {
    sys::call(libc::SYS_setgid, [65534, 0, 0, 0, 0, 0])?;
    sys::call(libc::SYS_setuid, [65534, 0, 0, 0, 0, 0])?;
    write(job)
}
