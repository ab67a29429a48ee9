//! The corpus: what is written, and by which calls.

mod aio;
mod children;
mod concurrent;
mod descriptors;
mod memory;
mod mixed;
mod moved;
mod plain;
mod tables;
mod uring;
mod uring_cases;
mod vectored;

use std::io;

use crate::{
    Case, Content, Job, Needs,
    Needs::{Entry, Nothing, OtherTable, Relay},
    Order,
    content::Random,
};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Every case, in the order in which the table shows them.
pub static CASES: &[Case] = &[
    case("write", 300_000, 40_000, Nothing, plain::write),
    case("write-8m", 8 * MIB, 0, Nothing, plain::one_write),
    case("write-8m-stderr", 0, 8 * MIB, Nothing, plain::one_write_to_stderr),
    case("one-byte", 100_000, 0, Nothing, plain::one_byte),
    bytes("all-bytes", 50_000, plain::write),
    bytes("all-bytes-8k", 500_000, plain::write_8k),
    case("empty-writes", 5_000, 5_000, Nothing, plain::empty_writes),
    case("nonblock", 2 * MIB, 0, Nothing, plain::nonblock),
    case("interrupted", 4 * MIB, 0, Nothing, plain::interrupted),
    case("signal-handler", 20_000, 0, Nothing, plain::signal_handler),
    case("exit-at-once", 1_000, 1_000, Nothing, plain::exit_at_once),
    case("packets", 200_000, 0, Nothing, plain::packets),
    case("small-pipe", 300_000, 0, Nothing, plain::small_pipe),
    case("big-pipe", 3 * MIB, 0, Nothing, plain::big_pipe),
    case("nobody", 20_000, 20_000, Nothing, plain::nobody),
    case("writev", 600_000, 60_000, Nothing, vectored::writev),
    case("writev-1024", 400_000, 0, Nothing, vectored::writev_1024),
    case("writev-wide", 900_000, 0, Nothing, vectored::writev_wide),
    case("writev-nonblock", 2 * MIB, 0, Nothing, vectored::writev_nonblock),
    case("writev-partly-bad", 100_000, 0, Nothing, vectored::writev_partly_bad),
    case("pwritev2", 600_000, 60_000, Nothing, vectored::pwritev2),
    case("pwritev2-nowait", 200_000, 0, Nothing, vectored::pwritev2_nowait),
    case("bad-pointer", 50_000, 0, Nothing, memory::bad_pointer),
    case("partly-bad", 300_000, 0, Nothing, memory::partly_bad),
    case("file-pages", MIB, 0, Nothing, memory::file_pages),
    Case {
        name: "zero-pages",
        stdout: Content::Zeros(200_000),
        stderr: Content::Empty,
        needs: Nothing,
        order: Order::Exact,
        run: memory::zero_pages,
    },
    case("huge-pages", 4 * MIB, 0, Nothing, memory::huge_pages),
    case("read-only-pages", 100_000, 0, Nothing, memory::read_only_pages),
    case("dup", 90_000, 90_000, Nothing, descriptors::dup),
    case("reopened", 120_000, 120_000, Nothing, descriptors::reopened),
    case("crossed", 60_000, 60_000, Nothing, descriptors::crossed),
    case("closed", 60_000, 0, Nothing, descriptors::closed),
    case("redirected", 60_000, 60_000, Nothing, descriptors::redirected),
    case("replaced-in-flight", 8 * MIB, 0, Entry, descriptors::replaced_in_flight),
    case("inner-pipes", 60_000, 60_000, Nothing, descriptors::inner_pipes),
    case("passed-fd", 60_000, 0, Nothing, descriptors::passed),
    case("fork", 60_000, 60_000, Nothing, children::fork),
    case("double-fork", 60_000, 0, Nothing, children::double_fork),
    case("vfork", 60_000, 0, Nothing, children::vfork),
    case("exec", 60_000, 60_000, Nothing, children::exec),
    case("short-children", 20_000, 0, Nothing, children::short_children),
    Case {
        name: "killed",
        stdout: Content::PrefixOfLines(64 * MIB),
        stderr: Content::Empty,
        needs: Nothing,
        order: Order::Exact,
        run: children::killed,
    },
    writers("threads-16", concurrent::threads),
    writers("processes-16", concurrent::processes),
    case("sendfile", 300_000, 0, Relay, moved::sendfile),
    case("sendfile-1m", MIB, 0, Relay, moved::sendfile_1m),
    case("sendfile-stderr", 0, 300_000, Relay, moved::sendfile_stderr),
    case("splice-file", 300_000, 0, Relay, moved::splice_file),
    case("splice-pipe", 300_000, 0, Relay, moved::splice_pipe),
    case("vmsplice", 300_000, 0, Relay, moved::vmsplice),
    case("vmsplice-gift", 300_000, 0, Relay, moved::vmsplice_gift),
    case("tee", 300_000, 0, Relay, moved::tee),
    case("moved-256k", 4 * MIB, 0, Relay, moved::through_big_pipe),
    bytes_relay("sendfile-bytes", 300_000, moved::sendfile),
    case("write-then-sendfile", 400_000, 0, Relay, mixed::write_then_sendfile),
    case("sendfile-then-write", 400_000, 0, Relay, mixed::sendfile_then_write),
    case("mixed", 2 * MIB, 0, Relay, mixed::everything),
    case("mixed-full-pipe", 4 * MIB, 0, Relay, mixed::full_pipe),
    case("mixed-children", 300_000, 300_000, Relay, mixed::children),
    case("mixed-streams", 300_000, 300_000, Relay, mixed::streams),
    Case {
        name: "mixed-writers",
        stdout: Content::Writers { writers: 8, lines: 300 },
        stderr: Content::Empty,
        needs: Relay,
        order: Order::PerWriter,
        run: concurrent::mixed,
    },
    Case {
        name: "switched",
        stdout: Content::Writers { writers: 6, lines: 200 },
        stderr: Content::Empty,
        needs: Relay,
        order: Order::PerWriter,
        run: concurrent::switched,
    },
    case("aio", 300_000, 0, Relay, aio::pwrite),
    case("io-uring-write", 300_000, 0, Relay, uring_cases::write),
    case("io-uring-batch", 300_000, 0, Relay, uring_cases::batch),
    case("io-uring-async", 300_000, 0, Relay, uring_cases::worker),
    case("io-uring-writev", 300_000, 0, Relay, uring_cases::writev),
    case("io-uring-splice", 300_000, 0, Relay, uring_cases::splice),
    case("io-uring-sqpoll", 300_000, 0, Relay, uring_cases::polled),
    case("io-uring-mixed", 600_000, 0, Relay, uring_cases::mixed),
    case("int80", 300_000, 30_000, OtherTable, tables::int80),
    case("x32", 300_000, 0, OtherTable, tables::x32),
    case("elf32-write", 300_000, 0, OtherTable, tables::elf32_write),
    case("elf32-writev", 300_000, 0, OtherTable, tables::elf32_writev),
    case("elf32-sendfile", 300_000, 0, OtherTable, tables::elf32_sendfile),
    case("elf32-mixed", 300_000, 0, OtherTable, tables::elf32_mixed),
];

type Run = fn(&Job) -> io::Result<()>;

const fn case(name: &'static str, stdout: usize, stderr: usize, needs: Needs, run: Run) -> Case {
    let stdout = if stdout == 0 { Content::Empty } else { Content::Lines(stdout) };
    let stderr = if stderr == 0 { Content::Empty } else { Content::Lines(stderr) };
    Case { name, stdout, stderr, needs, order: Order::Exact, run }
}

const fn bytes(name: &'static str, stdout: usize, run: Run) -> Case {
    Case { name, stdout: Content::Bytes(stdout), stderr: Content::Empty, needs: Nothing, order: Order::Exact, run }
}

const fn bytes_relay(name: &'static str, stdout: usize, run: Run) -> Case {
    Case { name, stdout: Content::Bytes(stdout), stderr: Content::Empty, needs: Relay, order: Order::Exact, run }
}

const fn writers(name: &'static str, run: Run) -> Case {
    Case {
        name,
        stdout: Content::Writers { writers: 16, lines: 400 },
        stderr: Content::Writers { writers: 16, lines: 50 },
        needs: Nothing,
        order: Order::PerWriter,
        run,
    }
}

/// Cuts content into pieces of pseudo-random length, 1 to `longest` bytes.
fn pieces(content: &[u8], seed: u32, longest: usize) -> impl Iterator<Item = &[u8]> {
    let mut random = Random::new(seed ^ 0x5eed);
    let mut rest = content;
    std::iter::from_fn(move || {
        let length = (1 + random.next() as usize % longest).min(rest.len());
        let (piece, after) = rest.split_at(length);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}
