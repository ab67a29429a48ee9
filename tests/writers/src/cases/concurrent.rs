//! Several writers at once, a whole line per call.

use std::io;

use super::moved;
use crate::{Content, Job, content::lines_of_writer, sys};

fn lines(content: Content, stream: &str, seed: u32, writer: usize) -> Vec<Vec<u8>> {
    match content {
        Content::Writers { lines, .. } => lines_of_writer(stream, seed, writer, lines),
        _ => Vec::new(),
    }
}

fn writers(job: &Job) -> usize {
    match job.case.stdout {
        Content::Writers { writers, .. } => writers,
        _ => 0,
    }
}

fn write_lines(job: &Job, writer: usize) -> io::Result<()> {
    let mut err = lines(job.case.stderr, "err", job.seed, writer).into_iter();
    for line in lines(job.case.stdout, "out", job.seed, writer) {
        sys::write_all(1, &line)?;
        if let Some(line) = err.next() {
            sys::write_all(2, &line)?;
        }
    }
    Ok(())
}

pub(super) fn threads(job: &Job) -> io::Result<()> {
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..writers(job)).map(|writer| scope.spawn(move || write_lines(job, writer))).collect();
        writers.into_iter().try_for_each(|writer| writer.join().map_err(|_| io::Error::other("a writer panicked"))?)
    })
}

pub(super) fn processes(job: &Job) -> io::Result<()> {
    let children: Vec<_> =
        (0..writers(job)).map(|writer| sys::fork(|| write_lines(job, writer))).collect::<io::Result<_>>()?;
    children.into_iter().try_for_each(sys::wait)
}

/// Half of the writers use `sendfile`, the other half `write`.
pub(super) fn mixed(job: &Job) -> io::Result<()> {
    let write = |writer: usize| {
        for (number, line) in lines(job.case.stdout, "out", job.seed, writer).into_iter().enumerate() {
            if (writer + number / 50).is_multiple_of(2) {
                sys::write_all(1, &line)?;
            } else {
                let file = sys::file_of(&line)?;
                sys::all(&line, |rest| sendfile(file, rest.len()))?;
                sys::close(file);
            }
        }
        Ok(())
    };
    let children: Vec<_> = (0..writers(job)).map(|writer| sys::fork(|| write(writer))).collect::<io::Result<_>>()?;
    children.into_iter().try_for_each(sys::wait)
}

/// One writer uses `sendfile`, once, while all of them write.
pub(super) fn switched(job: &Job) -> io::Result<()> {
    let write = |writer: usize| {
        for (number, line) in lines(job.case.stdout, "out", job.seed, writer).into_iter().enumerate() {
            if (writer, number) == (0, 50 + job.seed as usize % 100) {
                moved::send_all(1, &line)?;
            } else {
                sys::write_all(1, &line)?;
            }
        }
        Ok(())
    };
    let children: Vec<_> = (0..writers(job)).map(|writer| sys::fork(|| write(writer))).collect::<io::Result<_>>()?;
    children.into_iter().try_for_each(sys::wait)
}

fn sendfile(file: i32, length: usize) -> io::Result<usize> {
    sys::call(libc::SYS_sendfile, [1, file as usize, 0, length, 0, 0])
}
