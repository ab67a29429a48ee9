//! A small `io_uring` without liburing: one ring, as much of the interface as the cases need.

use std::{
    io,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::sys;

/// Opcodes of `linux/io_uring.h`.
pub(super) const WRITEV: u8 = 2;
pub(super) const WRITE: u8 = 23;
pub(super) const SPLICE: u8 = 30;

/// Runs the request on a worker thread of the kernel.
pub(super) const ASYNC: u8 = 1 << 4;
/// The next request waits for this one.
pub(super) const LINK: u8 = 1 << 2;
/// A kernel thread takes the requests, so that submitting makes no system call.
pub(super) const SQPOLL: u32 = 1 << 1;

const ENTER_GETEVENTS: usize = 1;
const ENTER_SQ_WAKEUP: usize = 2;
const SQ_NEED_WAKEUP: u32 = 1;

#[repr(C)]
#[derive(Default)]
struct SubmissionOffsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    flags: u32,
    dropped: u32,
    array: u32,
    reserved: u32,
    user_address: u64,
}

#[repr(C)]
#[derive(Default)]
struct CompletionOffsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    overflow: u32,
    cqes: u32,
    flags: u32,
    reserved: u32,
    user_address: u64,
}

#[repr(C)]
#[derive(Default)]
struct Parameters {
    submission_entries: u32,
    completion_entries: u32,
    flags: u32,
    thread_cpu: u32,
    thread_idle: u32,
    features: u32,
    workqueue_fd: u32,
    reserved: [u32; 3],
    submission: SubmissionOffsets,
    completion: CompletionOffsets,
}

/// A submission queue entry.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Request {
    pub(super) opcode: u8,
    pub(super) flags: u8,
    pub(super) priority: u16,
    pub(super) fd: i32,
    pub(super) offset: u64,
    pub(super) address: u64,
    pub(super) length: u32,
    pub(super) operation_flags: u32,
    pub(super) user_data: u64,
    pub(super) buffer_index: u16,
    pub(super) personality: u16,
    pub(super) splice_fd: i32,
    pub(super) reserved: [u64; 2],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Completion {
    user_data: u64,
    result: i32,
    flags: u32,
}

/// An open ring.
pub(super) struct Ring {
    fd: i32,
    flags: u32,
    submission: *mut u8,
    completion: *mut u8,
    requests: *mut Request,
    parameters: Parameters,
}

impl Ring {
    pub(super) const ENTRIES: usize = 32;

    pub(super) fn new(flags: u32) -> io::Result<Self> {
        let mut parameters = Parameters { flags, thread_idle: 50, ..Parameters::default() };
        let pointer = &raw mut parameters as usize;
        let fd = sys::call(libc::SYS_io_uring_setup, [Self::ENTRIES, pointer, 0, 0, 0, 0])? as i32;
        let map = |length: usize, offset: i64| -> io::Result<*mut u8> {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            // SAFETY: a fresh shared mapping of the ring's own memory.
            let start = unsafe {
                libc::mmap(std::ptr::null_mut(), length, protection, libc::MAP_SHARED | libc::MAP_POPULATE, fd, offset)
            };
            if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(start.cast()) }
        };
        let submission_length = parameters.submission.array + 4 * parameters.submission_entries;
        let completion_length =
            parameters.completion.cqes + parameters.completion_entries * size_of::<Completion>() as u32;
        Ok(Self {
            fd,
            flags,
            submission: map(submission_length as usize, 0)?,
            completion: map(completion_length as usize, 0x800_0000)?,
            requests: map(parameters.submission_entries as usize * size_of::<Request>(), 0x1000_0000)?.cast(),
            parameters,
        })
    }

    fn word(base: *mut u8, offset: u32) -> &'static AtomicU32 {
        // SAFETY: the kernel gave the offset of an aligned word in a mapping that is never unmapped.
        unsafe { AtomicU32::from_ptr(base.add(offset as usize).cast()) }
    }

    /// Submits requests and waits for all of them; returns their results in the order of the requests.
    pub(super) fn run(&self, requests: &[Request]) -> io::Result<Vec<i32>> {
        let tail = Self::word(self.submission, self.parameters.submission.tail);
        let mask = self.parameters.submission_entries - 1;
        let mut at = tail.load(Ordering::Relaxed);
        for (index, request) in requests.iter().enumerate() {
            let slot = at & mask;
            let request = Request { user_data: index as u64, ..*request };
            // SAFETY: the slot is within the array, and the kernel does not look at it before the tail moves.
            unsafe { self.requests.add(slot as usize).write(request) };
            Self::word(self.submission, self.parameters.submission.array + 4 * slot).store(slot, Ordering::Relaxed);
            at = at.wrapping_add(1);
        }
        tail.store(at, Ordering::SeqCst);
        self.enter(requests.len())?;
        self.collect(requests.len())
    }

    fn enter(&self, count: usize) -> io::Result<()> {
        if self.flags & SQPOLL == 0 {
            let arguments = [self.fd as usize, count, count, ENTER_GETEVENTS, 0, 0];
            return sys::call(libc::SYS_io_uring_enter, arguments).map(drop);
        }
        std::sync::atomic::fence(Ordering::SeqCst);
        let flags = Self::word(self.submission, self.parameters.submission.flags);
        if flags.load(Ordering::SeqCst) & SQ_NEED_WAKEUP != 0 {
            let arguments = [self.fd as usize, count, 0, ENTER_SQ_WAKEUP, 0, 0];
            sys::call(libc::SYS_io_uring_enter, arguments)?;
        }
        Ok(())
    }

    fn collect(&self, count: usize) -> io::Result<Vec<i32>> {
        let offsets = &self.parameters.completion;
        let (head, tail) = (Self::word(self.completion, offsets.head), Self::word(self.completion, offsets.tail));
        let mask = self.parameters.completion_entries - 1;
        let mut results = vec![0; count];
        for _ in 0..count {
            let at = head.load(Ordering::Relaxed);
            while tail.load(Ordering::Acquire) == at {
                std::thread::yield_now();
                if self.flags & SQPOLL == 0 {
                    let arguments = [self.fd as usize, 0, 1, ENTER_GETEVENTS, 0, 0];
                    sys::call(libc::SYS_io_uring_enter, arguments)?;
                }
            }
            // SAFETY: the tail says that the kernel has filled this slot.
            let completion = unsafe {
                self.completion
                    .add(offsets.cqes as usize)
                    .byte_add(size_of::<Completion>() * (at & mask) as usize)
                    .cast::<Completion>()
                    .read_unaligned()
            };
            results[completion.user_data as usize] = completion.result;
            head.store(at.wrapping_add(1), Ordering::Release);
        }
        Ok(results)
    }

    /// Runs one request and returns its count.
    pub(super) fn one(&self, request: Request) -> io::Result<usize> {
        let result = self.run(&[request])?[0];
        usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
    }
}
