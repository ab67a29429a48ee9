//! The kernel's older asynchronous interface: `io_submit`.

use std::io;

use super::pieces;
use crate::{Job, sys};

/// `struct iocb` of `linux/aio_abi.h`.
#[repr(C)]
#[derive(Default)]
struct Iocb {
    data: u64,
    key: u32,
    rw_flags: i32,
    opcode: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    length: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    result_fd: u32,
}

/// `struct io_event` of `linux/aio_abi.h`.
#[repr(C)]
#[derive(Default)]
struct Event {
    data: u64,
    object: u64,
    result: i64,
    result2: i64,
}

const PWRITE: u16 = 1;

pub(super) fn pwrite(job: &Job) -> io::Result<()> {
    let mut context = 0_usize;
    sys::call(libc::SYS_io_setup, [8, &raw mut context as usize, 0, 0, 0, 0])?;
    for piece in pieces(&job.out, job.seed, 9000) {
        sys::all(piece, |rest| {
            let request = Iocb {
                opcode: PWRITE,
                fd: 1,
                buffer: rest.as_ptr() as u64,
                length: rest.len() as u64,
                ..Iocb::default()
            };
            let list = [&raw const request];
            sys::call(libc::SYS_io_submit, [context, 1, list.as_ptr() as usize, 0, 0, 0])?;
            let mut event = Event::default();
            sys::call(libc::SYS_io_getevents, [context, 1, 1, &raw mut event as usize, 0, 0])?;
            usize::try_from(event.result).map_err(|_| io::Error::from_raw_os_error(-event.result as i32))
        })?;
    }
    Ok(())
}
