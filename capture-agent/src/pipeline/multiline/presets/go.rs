//! `runtime/panic.go` and `runtime/traceback.go`.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::State::{Frames, Message, Outside};
use super::{State, after_digits, unindented};
use crate::pipeline::multiline::rules::Verdict;

static PANIC: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("panic"));

pub(super) fn judge(state: State, line: &[u8]) -> (Verdict, State) {
    let (text, is_indented) = unindented(line);
    if is_goroutine(line) {
        return (if state == Outside { Verdict::Start } else { Verdict::Continue }, Frames);
    }
    match state {
        // `panic: again` of a panic that was recovered.
        Message if line.starts_with(b"[signal ") || (is_indented && text.starts_with(b"panic: ")) => {
            (Verdict::Continue, Message)
        }
        Frames if line.starts_with(b"\t") || is_call(line) || is_register(line) => (Verdict::Continue, Frames),
        // Another goroutine may follow.
        Frames if line.is_empty() => (Verdict::Maybe, Frames),
        Frames if line.starts_with(b"exit status ") => (Verdict::Continue, Outside),
        _ if begins(line) => (Verdict::Start, Message),
        Message => (Verdict::Maybe, Message),
        _ => (Verdict::Alone, Outside),
    }
}

fn begins(line: &[u8]) -> bool {
    [
        &b"fatal error: "[..],
        b"SIGQUIT: ",
        b"SIGABRT: ",
        b"unexpected fault address ",
        b"runtime: goroutine stack exceeds ",
    ]
    .iter()
    .any(|start| line.starts_with(start))
        || PANIC.find_iter(line).any(|start| {
            let is_word = start.checked_sub(1).is_none_or(|before| !line[before].is_ascii_alphanumeric());
            let rest = &line[start + PANIC.needle().len()..];
            is_word && (rest.starts_with(b": ") || rest.starts_with(b" serving "))
        })
}

/// `goroutine 1 [running]:`, `goroutine 1 gp=0xc000002380 m=0 mp=0x5 [running]:`.
fn is_goroutine(line: &[u8]) -> bool {
    line.strip_prefix(b"goroutine ").and_then(after_digits).is_some_and(|rest| {
        (rest.starts_with(b" [") || rest.starts_with(b" gp=0x")) && rest.ends_with(b":") && rest.contains(&b'[')
    })
}

/// `main.(*shop).sell(...)`, `created by main.main in goroutine 1`, `...additional frames elided...`.
fn is_call(line: &[u8]) -> bool {
    let has_arguments = || {
        let end = line.iter().position(|byte| matches!(byte, b'(' | b' ' | b'\t' | b'=')).unwrap_or(line.len());
        end > 0 && line[end..].starts_with(b"(") && line.ends_with(b")")
    };
    line.starts_with(b"created by ") || (line.starts_with(b"...") && line.ends_with(b"elided...")) || has_arguments()
}

/// `rax    0x0`, after a fatal signal.
fn is_register(line: &[u8]) -> bool {
    let end = line.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(line.len());
    end > 0 && end < 9 && unindented(&line[end..]).0.starts_with(b"0x") && line.get(end) == Some(&b' ')
}
