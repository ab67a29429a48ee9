//! `Throwable.printStackTrace` of the JVM, and `Exception.ToString` of .NET.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::State::{Frames, Message, Outside};
use super::{State, after_digits, names_error, unindented};
use crate::pipeline::multiline::rules::Verdict;

static KINDS: LazyLock<[Finder<'static>; 3]> = LazyLock::new(|| ["Exception", "Error", "Throwable"].map(Finder::new));

pub(super) fn judge(state: State, line: &[u8]) -> (Verdict, State) {
    let (text, is_indented) = unindented(line);
    if is_indented && is_frame(text) {
        return (Verdict::Continue, Frames);
    }
    // Another exception, whose message may have several lines too.
    if text.starts_with(b"Caused by: ")
        || text.starts_with(b"Wrapped by: ")
        || text.starts_with(b"---> ")
        || (is_indented && text.starts_with(b"Suppressed: "))
    {
        return (Verdict::Continue, Message);
    }
    if text.starts_with(b"Exception in thread ") || names_error(line, &*KINDS) || begins_with_class(line) {
        return (Verdict::Start, Message);
    }
    match state {
        Message => (Verdict::Maybe, Message),
        _ => (Verdict::Alone, Outside),
    }
}

/// `at a.B.c(B.java:1)`, `... 2 more`, `... 3 common frames omitted` and what .NET puts between two stacks.
fn is_frame(text: &[u8]) -> bool {
    let is_omission = |rest: &[u8]| {
        after_digits(rest).is_some_and(|rest| rest.starts_with(b" more") || rest.starts_with(b" common frames omitted"))
    };
    text.starts_with(b"at ")
        || text.strip_prefix(b"... ").is_some_and(is_omission)
        || text.starts_with(b"--- End of ")
        || text.starts_with(b"[CIRCULAR REFERENCE")
}

/// Whether a line begins with the full name of a class, alone or before a message: many exceptions are not called so.
fn begins_with_class(line: &[u8]) -> bool {
    let end = line.iter().position(|byte| !is_of_name(*byte)).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let is_qualified = name
        .iter()
        .rposition(|byte| matches!(byte, b'.' | b'$'))
        .is_some_and(|separator| separator > 0 && name.get(separator + 1).is_some_and(u8::is_ascii_uppercase));
    is_qualified && (rest.is_empty() || rest.starts_with(b": "))
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.' | b'/') || !byte.is_ascii()
}
