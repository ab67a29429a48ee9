//! Children that write: forked, forked twice, executed, killed.

use std::{ffi::CString, io, time::Duration};

use super::pieces;
use crate::{Job, sys};

fn halves(content: &[u8]) -> (&[u8], &[u8]) {
    content.split_at(content.len() / 2)
}

pub(super) fn fork(job: &Job) -> io::Result<()> {
    for (fd, content) in [(1, &job.out), (2, &job.err)] {
        let (first, second) = halves(content);
        let child = sys::fork(|| pieces(first, job.seed, 2000).try_for_each(|piece| sys::write_all(fd, piece)))?;
        sys::wait(child)?;
        sys::write_all(fd, second)?;
    }
    Ok(())
}

/// The writer is an orphan of init; a pipe tells when it is done.
pub(super) fn double_fork(job: &Job) -> io::Result<()> {
    let (first, second) = halves(&job.out);
    let (read, write) = sys::pipe()?;
    let child = sys::fork(|| {
        sys::fork(|| {
            // SAFETY: no memory is involved.
            unsafe { libc::setsid() };
            pieces(first, job.seed, 2000).try_for_each(|piece| sys::write_all(1, piece))?;
            sys::write_all(write, b"d")
        })
        .map(drop)
    })?;
    sys::wait(child)?;
    sys::read_exact(read, 1)?;
    sys::write_all(1, second)
}

/// Children that share our memory until they exit.
pub(super) fn vfork(job: &Job) -> io::Result<()> {
    for piece in pieces(&job.out, job.seed, 3000) {
        let (start, length) = (piece.as_ptr(), piece.len());
        let pid: usize;
        // SAFETY: vfork through a function would return twice from one frame; inline, the child makes two system calls
        // and never comes back, touching no stack. The registers that the calls change are declared.
        unsafe {
            std::arch::asm!(
                "syscall",
                "test rax, rax",
                "jnz 2f",
                "mov eax, 1",
                "mov edi, 1",
                "syscall",
                "mov eax, 60",
                "xor edi, edi",
                "syscall",
                "2:",
                inlateout("rax") libc::SYS_vfork as usize => pid,
                in("rsi") start,
                in("rdx") length,
                lateout("rdi") _,
                lateout("rcx") _,
                lateout("r11") _,
            );
        }
        let pid = i32::try_from(pid).map_err(|_| io::Error::other("vfork failed"))?;
        sys::wait(pid)?;
    }
    Ok(())
}

/// Children that execute this program anew for a part.
pub(super) fn exec(job: &Job) -> io::Result<()> {
    for (fd, content) in [(1, &job.out), (2, &job.err)] {
        let step = content.len() / 6 + 1;
        for from in (0..content.len()).step_by(step) {
            let to = (from + step).min(content.len());
            let child = sys::fork(|| {
                let numbers = [job.seed as usize, fd, from, to].map(|number| number.to_string());
                let program = ["/proc/self/exe", "--part", job.case.name].map(str::to_owned);
                execute(&[&program[..], &numbers[..]].concat())
            })?;
            sys::wait(child)?;
        }
    }
    Ok(())
}

/// Replaces this process; the first word is the program.
pub(super) fn execute(words: &[String]) -> io::Result<()> {
    let words: Vec<CString> = words.iter().map(|word| CString::new(word.as_str())).collect::<Result<_, _>>()?;
    let mut pointers: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
    pointers.push(std::ptr::null());
    // SAFETY: C strings and a null-ended list that live until the call replaces everything.
    unsafe { libc::execv(pointers[0], pointers.as_ptr()) };
    Err(io::Error::last_os_error())
}

/// Many children that write once and are gone.
pub(super) fn short_children(job: &Job) -> io::Result<()> {
    for piece in pieces(&job.out, job.seed, 300) {
        sys::wait(sys::fork(|| sys::write_all(1, piece))?)?;
    }
    Ok(())
}

/// SIGKILL while the child is somewhere in one write of 64 MiB.
pub(super) fn killed(job: &Job) -> io::Result<()> {
    let child = sys::fork(|| sys::write(1, &job.out).map(drop))?;
    std::thread::sleep(Duration::from_millis(15));
    sys::kill(child);
    sys::wait(child)
}
