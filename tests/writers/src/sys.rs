//! The calls themselves: each function makes exactly the system call that it is named after.

use std::{
    ffi::{CString, c_int, c_long, c_void},
    io, ptr,
};

/// Turns the result of a call into an error or a count.
pub(crate) fn check(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn check_fd(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Any call by its number; the caller answers for the arguments.
pub(crate) fn call(number: c_long, at: [usize; 6]) -> io::Result<usize> {
    // SAFETY: the callers pass what the named call takes, with memory that outlives it; this crate only runs in tests.
    let result = unsafe { libc::syscall(number, at[0], at[1], at[2], at[3], at[4], at[5]) };
    check(result as isize)
}

pub(crate) fn write(fd: c_int, bytes: &[u8]) -> io::Result<usize> {
    write_raw(fd, bytes.as_ptr(), bytes.len())
}

/// `write` from any address, mapped or not.
pub(crate) fn write_raw(fd: c_int, start: *const u8, length: usize) -> io::Result<usize> {
    // SAFETY: the kernel checks the range itself and fails with EFAULT.
    check(unsafe { libc::write(fd, start.cast(), length) })
}

/// `write` until everything is out, going on after short writes and signals.
pub(crate) fn write_all(fd: c_int, bytes: &[u8]) -> io::Result<()> {
    all(bytes, |rest| write(fd, rest))
}

/// Repeats a call that may take less than it is offered.
pub(crate) fn all(mut rest: &[u8], mut step: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
    while !rest.is_empty() {
        match step(rest) {
            Ok(0) => return Err(io::Error::other("nothing accepted")),
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(crate) fn iovec(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

pub(crate) fn writev(fd: c_int, segments: &[libc::iovec]) -> io::Result<usize> {
    call(libc::SYS_writev, [fd as usize, segments.as_ptr() as usize, segments.len(), 0, 0, 0])
}

/// `pwritev2` at offset -1, which means the current position and is allowed on pipes.
pub(crate) fn pwritev2(fd: c_int, segments: &[libc::iovec], flags: c_int) -> io::Result<usize> {
    let here = usize::MAX;
    call(libc::SYS_pwritev2, [fd as usize, segments.as_ptr() as usize, segments.len(), here, here, flags as usize])
}

/// Waits until a descriptor takes bytes.
pub(crate) fn wait_writable(fd: c_int) -> io::Result<()> {
    let mut poll = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one valid pollfd.
    check_fd(unsafe { libc::poll(&raw mut poll, 1, -1) }).map(drop)
}

/// Calls `handler` when SIGTERM comes; as the first process of a container it would be ignored otherwise.
pub(crate) fn on_terminate(handler: extern "C" fn(c_int)) -> io::Result<()> {
    // SAFETY: the handlers of this crate only store to an atomic.
    let before = unsafe { libc::signal(libc::SIGTERM, handler as *const () as libc::sighandler_t) };
    if before == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sleeps until the time is over or a signal comes.
pub(crate) fn sleep_ms(milliseconds: c_int) {
    // SAFETY: no descriptors are passed.
    unsafe { libc::poll(ptr::null_mut(), 0, milliseconds) };
}

pub(crate) fn fcntl(fd: c_int, command: c_int, argument: c_int) -> io::Result<c_int> {
    // SAFETY: only commands with an integer argument are used.
    check_fd(unsafe { libc::fcntl(fd, command, argument) })
}

/// Sets or clears status flags such as `O_NONBLOCK`.
pub(crate) fn set_status_flag(fd: c_int, flag: c_int, on: bool) -> io::Result<()> {
    let flags = fcntl(fd, libc::F_GETFL, 0)?;
    fcntl(fd, libc::F_SETFL, if on { flags | flag } else { flags & !flag }).map(drop)
}

pub(crate) fn dup(fd: c_int) -> io::Result<c_int> {
    // SAFETY: no memory is involved.
    check_fd(unsafe { libc::dup(fd) })
}

pub(crate) fn dup2(from: c_int, to: c_int) -> io::Result<c_int> {
    // SAFETY: no memory is involved; the program uses raw descriptors only.
    check_fd(unsafe { libc::dup2(from, to) })
}

pub(crate) fn close(fd: c_int) {
    // SAFETY: the program uses raw descriptors only.
    unsafe { libc::close(fd) };
}

pub(crate) fn open(path: &str, flags: c_int) -> io::Result<c_int> {
    let path = CString::new(path).map_err(io::Error::other)?;
    // SAFETY: a C string that lives through the call.
    check_fd(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o600) })
}

/// An anonymous file with this content, read from its start.
pub(crate) fn file_of(bytes: &[u8]) -> io::Result<c_int> {
    let path = format!("/tmp/content-{}", std::process::id());
    std::fs::create_dir_all("/tmp")?;
    std::fs::write(&path, bytes)?;
    let fd = open(&path, libc::O_RDWR)?;
    std::fs::remove_file(&path)?;
    Ok(fd)
}

pub(crate) fn pipe() -> io::Result<(c_int, c_int)> {
    let mut fds = [0; 2];
    // SAFETY: room for two descriptors.
    check_fd(unsafe { libc::pipe(fds.as_mut_ptr()) })?;
    Ok((fds[0], fds[1]))
}

/// Bytes in a pipe that nobody has read.
pub(crate) fn unread(fd: c_int) -> io::Result<c_int> {
    let mut count = 0;
    // SAFETY: one integer to fill.
    check_fd(unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut count) })?;
    Ok(count)
}

pub(crate) fn socketpair() -> io::Result<(c_int, c_int)> {
    let mut fds = [0; 2];
    // SAFETY: room for two descriptors.
    check_fd(unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, fds.as_mut_ptr()) })?;
    Ok((fds[0], fds[1]))
}

pub(crate) fn read_exact(fd: c_int, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        // SAFETY: the rest of the vector.
        match check(unsafe { libc::read(fd, bytes[filled..].as_mut_ptr().cast(), length - filled) })? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Memory straight from the kernel, never unmapped by us.
pub(crate) fn map(length: usize, protection: c_int, flags: c_int, fd: c_int) -> io::Result<*mut u8> {
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let start = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, fd, 0) };
    if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(start.cast()) }
}

/// A private copy of bytes in memory of its own.
pub(crate) fn map_copy(bytes: &[u8], flags: c_int) -> io::Result<*mut u8> {
    let flags = flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let start = map(bytes.len().max(1), libc::PROT_READ | libc::PROT_WRITE, flags, -1)?;
    // SAFETY: the mapping is at least as long as the bytes and new.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), start, bytes.len()) };
    Ok(start)
}

pub(crate) fn unmap(start: *mut u8, length: usize) {
    // SAFETY: the callers unmap what they mapped and hold no reference into it.
    unsafe { libc::munmap(start.cast::<c_void>(), length) };
}

/// Runs a closure in a forked child, which then exits with 0, or 1 for an error.
pub(crate) fn fork(child: impl FnOnce() -> io::Result<()>) -> io::Result<libc::pid_t> {
    // SAFETY: the child uses no lock that another thread may hold: where threads exist, they are idle or absent.
    let pid = check_fd(unsafe { libc::fork() })?;
    if pid == 0 {
        let status = c_int::from(child().is_err());
        exit_now(status);
    }
    Ok(pid)
}

/// `exit_group`: no destructor, no flush.
pub(crate) fn exit_now(status: c_int) -> ! {
    // SAFETY: does not return.
    unsafe { libc::_exit(status) }
}

/// Waits for a child; an error when it failed by itself (not when it was killed).
pub(crate) fn wait(pid: libc::pid_t) -> io::Result<()> {
    let mut status = 0;
    // SAFETY: one status word.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) != 0 {
        return Err(io::Error::other("a child failed"));
    }
    Ok(())
}

pub(crate) fn kill(pid: libc::pid_t) {
    // SAFETY: no memory is involved.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}
