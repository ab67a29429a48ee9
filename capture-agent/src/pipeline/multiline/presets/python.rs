//! `traceback.print_exception`.

use super::State::{Behind, Chained, Frames, Group, Outside};
use super::{State, unindented};
use crate::pipeline::multiline::rules::Verdict;

const HEADER: &[u8] = b"Traceback (most recent call last):";

pub(super) fn judge(state: State, line: &[u8]) -> (Verdict, State) {
    let (text, is_indented) = unindented(line);
    if line == HEADER {
        return (if state == Chained { Verdict::Continue } else { Verdict::Start }, Frames);
    }
    if text.strip_prefix(b"+ ").is_some_and(|rest| rest.starts_with(b"Exception Group Traceback (")) {
        return (if state == Chained { Verdict::Continue } else { Verdict::Start }, Group);
    }
    match state {
        Frames if is_indented => (Verdict::Continue, Frames),
        Frames if is_exception(line) => (Verdict::Continue, Behind),
        Group if is_indented && matches!(text.first(), Some(b'|' | b'+')) => (Verdict::Continue, Group),
        // The message goes on.
        Behind if is_indented && !text.is_empty() => (Verdict::Continue, Behind),
        Behind | Group if text.is_empty() => (Verdict::Maybe, Behind),
        Behind if says_that_another_follows(line) => (Verdict::Continue, Chained),
        Chained if text.is_empty() => (Verdict::Maybe, Chained),
        // What is not valid has no traceback where the interpreter itself could not read it.
        _ if is_indented && text.starts_with(b"File \"") => (Verdict::Start, Frames),
        _ => (Verdict::Alone, Outside),
    }
}

/// `KeyError: 'cup'`, `KeyboardInterrupt`, `app.orders.<locals>.Sold: tea`.
fn is_exception(line: &[u8]) -> bool {
    let is_of_name =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'<' | b'>') || !byte.is_ascii();
    let end = line.iter().position(|byte| !is_of_name(byte)).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    name.first().is_some_and(|byte| !byte.is_ascii_digit()) && (rest.is_empty() || rest.starts_with(b":"))
}

fn says_that_another_follows(line: &[u8]) -> bool {
    line == b"During handling of the above exception, another exception occurred:"
        || line == b"The above exception was the direct cause of the following exception:"
        // SQLAlchemy ends its messages so.
        || line.starts_with(b"(Background on this error at: ")
}
