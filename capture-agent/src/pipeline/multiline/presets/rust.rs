//! Panics (`library/std/src/panicking.rs`), and what `main` returns: an error of the standard library, of `anyhow` or
//! of `eyre`.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::State::{Behind, Frames, Header, Message, Outside};
use super::{State, unindented};
use crate::pipeline::multiline::rules::Verdict;

static PANICKED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("' panicked at "));
static PANICKED_WITH_ID: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(") panicked at "));

pub(super) fn judge(state: State, line: &[u8]) -> (Verdict, State) {
    let (text, is_indented) = unindented(line);
    if line.starts_with(b"thread '") && (PANICKED.find(line).is_some() || PANICKED_WITH_ID.find(line).is_some()) {
        // Up to 1.72 the message stands in the same line.
        return (Verdict::Start, if line.ends_with(b":") { Header } else { Message });
    }
    match state {
        Header => (Verdict::Continue, Message),
        Message | Behind if is_backtrace(line) => (Verdict::Continue, Frames),
        Message | Frames if line.starts_with(b"note: ") => (Verdict::Continue, Outside),
        Message | Behind if is_section(line) => (Verdict::Continue, Behind),
        Frames | Behind if is_indented && !text.is_empty() => (Verdict::Continue, state),
        Behind if text.is_empty() => (Verdict::Maybe, Behind),
        Behind if line.starts_with(b"Backtrace omitted. ") || line.starts_with(b"Run with ") => {
            (Verdict::Continue, Behind)
        }
        _ if line.starts_with(b"Error: ") => (Verdict::Start, Message),
        Message => (Verdict::Maybe, Message),
        _ => (Verdict::Alone, Outside),
    }
}

fn is_backtrace(line: &[u8]) -> bool {
    line == b"stack backtrace:" || line == b"Stack backtrace:"
}

fn is_section(line: &[u8]) -> bool {
    line == b"Caused by:" || line == b"Location:"
}
