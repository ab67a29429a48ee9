//! Calls through the other system call tables of `x86_64`: the 32-bit one and x32's.

use std::io;

use super::{children::execute, pieces};
use crate::{Job, sys};

/// `write` and `writev` of the 32-bit table.
const WRITE32: usize = 4;
const WRITEV32: usize = 146;
const X32: i64 = 0x4000_0000;

fn call32(number: usize, a: usize, b: usize, c: usize) -> io::Result<usize> {
    let result: usize;
    // SAFETY: as `syscall`; rbx is kept by hand because the compiler reserves it, and r8 to r11 may be cleared.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {a}",
            "int 0x80",
            "xchg rbx, {a}",
            a = inout(reg) a => _,
            inlateout("rax") number => result,
            in("rcx") b,
            in("rdx") c,
            lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
    let result = result as u32 as i32;
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

/// `int $0x80` from a 64-bit program, with buffers below 4 GiB.
pub(super) fn int80(job: &Job) -> io::Result<()> {
    let copies =
        [(1, &job.out), (2, &job.err)].map(|(fd, content)| (fd, content, sys::map_copy(content, libc::MAP_32BIT)));
    for (fd, content, start) in copies {
        let start = start?;
        let mut at = 0;
        for (index, piece) in pieces(content, job.seed, 5000).enumerate() {
            let mut done = 0;
            while done < piece.len() {
                let (address, length) = (start as usize + at + done, piece.len() - done);
                done += if index % 2 == 0 {
                    call32(WRITE32, fd, address, length)?
                } else {
                    let half = length / 2;
                    let segments = [address, half, address + half, length - half].map(|word| word as u32);
                    let bytes: Vec<u8> = segments.iter().flat_map(|word| word.to_ne_bytes()).collect();
                    let low = sys::map_copy(&bytes, libc::MAP_32BIT)?;
                    let count = call32(WRITEV32, fd, low as usize, 2);
                    sys::unmap(low, bytes.len());
                    count?
                };
            }
            at += piece.len();
        }
    }
    Ok(())
}

/// x32's numbers; where the kernel lacks them, plain writes.
pub(super) fn x32(job: &Job) -> io::Result<()> {
    for piece in pieces(&job.out, job.seed, 5000) {
        sys::all(piece, |rest| {
            let arguments = [1, rest.as_ptr() as usize, rest.len(), 0, 0, 0];
            match sys::call(X32 | libc::SYS_write, arguments) {
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => sys::write(1, rest),
                result => result,
            }
        })?;
    }
    Ok(())
}

/// Hands the content over to a real 32-bit program as a file.
fn elf32(job: &Job, way: &str) -> io::Result<()> {
    std::fs::write("/content", &job.out)?;
    execute(&["/writer32", way, "/content"].map(str::to_owned))
}

pub(super) fn elf32_write(job: &Job) -> io::Result<()> {
    elf32(job, "write")
}

pub(super) fn elf32_writev(job: &Job) -> io::Result<()> {
    elf32(job, "vector")
}

pub(super) fn elf32_sendfile(job: &Job) -> io::Result<()> {
    elf32(job, "sendfile")
}

pub(super) fn elf32_mixed(job: &Job) -> io::Result<()> {
    elf32(job, "mixed")
}
