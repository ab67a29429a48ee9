//! Writes from memory of every kind: bad, untouched, backed by a file, huge, read-only.

use std::{io, slice};

use super::pieces;
use crate::{Job, sys};

const PAGE: usize = 4096;

fn expect_fault(result: io::Result<usize>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Ok(()),
        _ => Err(io::Error::other("a write from a bad address did not fail")),
    }
}

/// Between good writes, some from addresses that are not mapped.
pub(super) fn bad_pointer(job: &Job) -> io::Result<()> {
    for piece in pieces(&job.out, job.seed, 2000) {
        expect_fault(sys::write_raw(1, 16 as *const u8, 100))?;
        expect_fault(sys::write_raw(1, 0xffff_8000_0000_0000_usize as *const u8, 100))?;
        sys::write_all(1, piece)?;
    }
    Ok(())
}

/// Buffers whose end is not mapped: the kernel takes some and says how much.
pub(super) fn partly_bad(job: &Job) -> io::Result<()> {
    let length = job.out.len().next_multiple_of(PAGE);
    let good =
        sys::map(length + PAGE, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
    sys::unmap(good.wrapping_add(length), PAGE);
    // SAFETY: `length` bytes are mapped, and nothing else refers to them.
    let memory = unsafe { slice::from_raw_parts_mut(good, length) };
    // The content ends at the hole, so that a write past its end meets the hole.
    let start = length - job.out.len();
    memory[start..].copy_from_slice(&job.out);
    let mut rest = &memory[start..];
    while !rest.is_empty() {
        // Some writes start on a page, where all whole pages go through; others within one, where the copy fails as a whole.
        let beyond = rest.len() + PAGE;
        match sys::write_raw(1, rest.as_ptr(), beyond) {
            Ok(count) => rest = &rest[count..],
            Err(error) if error.raw_os_error() == Some(libc::EFAULT) => {
                let some = rest.len().min(PAGE - rest.as_ptr() as usize % PAGE);
                sys::write_all(1, &rest[..some])?;
                rest = &rest[some..];
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// From a file mapping whose pages this process has never touched.
pub(super) fn file_pages(job: &Job) -> io::Result<()> {
    let file = sys::file_of(&job.out)?;
    for flags in [libc::MAP_PRIVATE, libc::MAP_SHARED] {
        let start = sys::map(job.out.len(), libc::PROT_READ, flags, file)?;
        let half = job.out.len() / 2;
        let (from, to) = if flags == libc::MAP_PRIVATE { (0, half) } else { (half, job.out.len()) };
        let mut at = from;
        while at < to {
            at += sys::write_raw(1, start.wrapping_add(at), (to - at).min(70_001))?;
        }
    }
    Ok(())
}

/// From reserved anonymous memory that was never touched, which reads as zeros.
pub(super) fn zero_pages(job: &Job) -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let start = sys::map(job.out.len(), libc::PROT_READ, flags, -1)?;
    let mut at = 0;
    while at < job.out.len() {
        at += sys::write_raw(1, start.wrapping_add(at), (job.out.len() - at).min(10_000))?;
    }
    Ok(())
}

/// From memory that the kernel is asked to back with huge pages.
pub(super) fn huge_pages(job: &Job) -> io::Result<()> {
    const HUGE: usize = 2 << 20;
    let whole = job.out.len() + 2 * HUGE;
    let start = sys::map(whole, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
    let aligned = start.wrapping_add(start.align_offset(HUGE));
    // SAFETY: the aligned range lies within the mapping, which nothing else refers to. Advice may be refused.
    let memory = unsafe {
        libc::madvise(aligned.cast(), job.out.len(), libc::MADV_HUGEPAGE);
        slice::from_raw_parts_mut(aligned, job.out.len())
    };
    memory.copy_from_slice(&job.out);
    pieces(memory, job.seed, 1_000_000).try_for_each(|piece| sys::write_all(1, piece))
}

/// From pages that were made read-only and dropped from the page tables.
pub(super) fn read_only_pages(job: &Job) -> io::Result<()> {
    let start = sys::map_copy(&job.out, 0)?;
    // SAFETY: our own mapping.
    unsafe { libc::mprotect(start.cast(), job.out.len(), libc::PROT_READ) };
    // SAFETY: `out.len()` bytes are mapped and readable.
    let memory = unsafe { slice::from_raw_parts(start, job.out.len()) };
    pieces(memory, job.seed, 10_000).try_for_each(|piece| sys::write_all(1, piece))
}
