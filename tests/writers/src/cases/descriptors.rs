//! The same output under other descriptors, and other files under the output's descriptors.

use std::io;

use super::pieces;
use crate::{FOREIGN, Job, sys};

fn thirds(content: &[u8]) -> [&[u8]; 3] {
    let third = content.len() / 3;
    [&content[..third], &content[third..2 * third], &content[2 * third..]]
}

fn write_pieces(fd: i32, content: &[u8], seed: u32) -> io::Result<()> {
    pieces(content, seed, 3000).try_for_each(|piece| sys::write_all(fd, piece))
}

/// `dup`, `dup2` to 9 and 200, with 1 and 2 closed in the end.
pub(super) fn dup(job: &Job) -> io::Result<()> {
    for (fd, content) in [(1, &job.out), (2, &job.err)] {
        let [first, second, third] = thirds(content);
        let copy = sys::dup(fd)?;
        let nine = sys::dup2(fd, 8 + fd)?;
        let far = sys::fcntl(fd, libc::F_DUPFD_CLOEXEC, 200)?;
        sys::close(fd);
        write_pieces(copy, first, job.seed)?;
        write_pieces(nine, second, job.seed)?;
        write_pieces(far, third, job.seed)?;
    }
    Ok(())
}

/// The output opened anew, as nginx does.
pub(super) fn reopened(job: &Job) -> io::Result<()> {
    for (fd, content, name) in [(1, &job.out, "/dev/stdout"), (2, &job.err, "/dev/stderr")] {
        let paths = [name.to_owned(), format!("/proc/self/fd/{fd}"), format!("/dev/fd/{fd}")];
        for (path, part) in paths.iter().zip(thirds(content)) {
            let file = sys::open(path, libc::O_WRONLY | libc::O_APPEND)?;
            write_pieces(file, part, job.seed)?;
            sys::close(file);
        }
    }
    Ok(())
}

/// `2>&1`, `1>&2` and both exchanged.
pub(super) fn crossed(job: &Job) -> io::Result<()> {
    let (out, err) = (sys::dup(1)?, sys::dup(2)?);
    let [out_1, out_2, out_3] = thirds(&job.out);
    let [err_1, err_2, err_3] = thirds(&job.err);
    sys::dup2(out, 2)?;
    write_pieces(2, out_1, job.seed)?;
    sys::dup2(err, 1)?;
    write_pieces(1, err_1, job.seed)?;
    write_pieces(2, out_2, job.seed)?;
    write_pieces(1, err_2, job.seed)?;
    sys::dup2(out, 1)?;
    sys::dup2(err, 2)?;
    write_pieces(1, out_3, job.seed)?;
    write_pieces(2, err_3, job.seed)
}

/// Closed, written to nevertheless, and put back.
pub(super) fn closed(job: &Job) -> io::Result<()> {
    let [first, second, third] = thirds(&job.out);
    write_pieces(1, first, job.seed)?;
    let kept = sys::dup(1)?;
    sys::close(1);
    for _ in 0..100 {
        if sys::write(1, FOREIGN).is_ok() {
            return Err(io::Error::other("a closed descriptor took bytes"));
        }
    }
    write_pieces(kept, second, job.seed)?;
    sys::dup2(kept, 1)?;
    write_pieces(1, third, job.seed)
}

/// Replaced by a file and by pipes, whose bytes are foreign, and put back.
pub(super) fn redirected(job: &Job) -> io::Result<()> {
    let file = sys::open("/redirected", libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC)?;
    let null = sys::open("/dev/null", libc::O_WRONLY)?;
    let (read, write) = sys::pipe()?;
    for (fd, content) in [(1, &job.out), (2, &job.err)] {
        let kept = sys::dup(fd)?;
        for piece in pieces(content, job.seed, 2000) {
            for other in [file, null, write] {
                sys::dup2(other, fd)?;
                sys::write_all(fd, FOREIGN)?;
            }
            sys::read_exact(read, FOREIGN.len())?;
            sys::dup2(kept, fd)?;
            sys::write_all(fd, piece)?;
        }
    }
    Ok(())
}

/// While a thread is blocked in a big write, another puts `/dev/null` under its descriptor.
pub(super) fn replaced_in_flight(job: &Job) -> io::Result<()> {
    let null = sys::open("/dev/null", libc::O_WRONLY)?;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| sys::write(1, &job.out));
        // Bytes in the pipe say that the call is under way, and it will be for as long as megabytes take.
        while !writer.is_finished() && sys::unread(1)? == 0 {
            std::thread::yield_now();
        }
        sys::dup2(null, 1)?;
        let count = writer.join().map_err(|_| io::Error::other("the writer panicked"))??;
        if count == job.out.len() { Ok(()) } else { Err(io::Error::other("a blocking write was short")) }
    })
}

/// Pipes and sockets within the container, some under the numbers 1 and 2 of children.
pub(super) fn inner_pipes(job: &Job) -> io::Result<()> {
    for (fd, content) in [(1, &job.out), (2, &job.err)] {
        for piece in pieces(content, job.seed, 9000) {
            for (read, write) in [sys::pipe()?, sys::socketpair()?] {
                let child = sys::fork(|| {
                    sys::dup2(write, 1)?;
                    sys::dup2(write, 2)?;
                    sys::write_all(1, FOREIGN)?;
                    sys::write_all(2, FOREIGN)?;
                    sys::writev(1, &[sys::iovec(FOREIGN)]).map(drop)
                })?;
                sys::read_exact(read, 3 * FOREIGN.len())?;
                sys::wait(child)?;
                sys::close(read);
                sys::close(write);
            }
            sys::write_all(fd, piece)?;
        }
    }
    Ok(())
}

/// A child without any output of its own gets the descriptor over a socket.
pub(super) fn passed(job: &Job) -> io::Result<()> {
    let (here, there) = sys::socketpair()?;
    let child = sys::fork(|| {
        sys::close(1);
        sys::close(2);
        let fd = receive(there)?;
        write_pieces(fd, &job.out, job.seed)
    })?;
    send(here, 1)?;
    sys::wait(child)
}

/// Room for one descriptor, aligned as the header needs.
#[repr(C, align(8))]
struct Control([u8; 24]);

fn message(control: &mut Control, part: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: all-zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len();
    message
}

fn send(socket: i32, fd: i32) -> io::Result<()> {
    let (mut control, mut part) = (Control([0; 24]), sys::iovec(b"x"));
    let message = message(&mut control, &mut part);
    // SAFETY: the control buffer has room for one header and one descriptor.
    let sent = unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as usize;
        libc::CMSG_DATA(header).cast::<i32>().write_unaligned(fd);
        libc::sendmsg(socket, &raw const message, 0)
    };
    sys::check(sent).map(drop)
}

fn receive(socket: i32) -> io::Result<i32> {
    let mut byte = [0_u8];
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut control = Control([0; 24]);
    let mut message = message(&mut control, &mut part);
    // SAFETY: all buffers outlive the call; the header is looked at only if the kernel wrote one.
    unsafe {
        sys::check(libc::recvmsg(socket, &raw mut message, 0))?;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if header.is_null() {
            return Err(io::Error::other("no descriptor came"));
        }
        Ok(libc::CMSG_DATA(header).cast::<i32>().read_unaligned())
    }
}
