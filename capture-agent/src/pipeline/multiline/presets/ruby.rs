//! `Exception#full_message`, `Logger` of an exception, and Rails.

use memchr::memmem;

use super::State::{Frames, Header, Message, Outside};
use super::{State, after_digits, is_pointer, unindented};
use crate::pipeline::multiline::rules::Verdict;

pub(super) fn judge(state: State, line: &[u8]) -> (Verdict, State) {
    let (text, is_indented) = unindented(line);
    match place(line) {
        // `a.rb:3:in 'f': message`, also of a cause behind the frames of its consequence.
        Some(rest) if !is_indented && rest.starts_with(b": ") => {
            let verdict = if matches!(state, Header | Frames) { Verdict::Continue } else { Verdict::Start };
            return (verdict, Message);
        }
        Some(_) if is_indented || state != Outside => return (Verdict::Continue, Frames),
        // Frames of which somebody has printed the message himself.
        Some([]) => return (Verdict::Start, Frames),
        _ => {}
    }
    match state {
        Message if is_pointer(line) || line.starts_with(b"Did you mean?") => (Verdict::Continue, Message),
        Frames if is_indented && text.starts_with(b"... ") && text.ends_with(b" levels...") => {
            (Verdict::Continue, Frames)
        }
        Frames if line.starts_with(b"Caused by") || line.starts_with(b"Causes:") => (Verdict::Continue, Message),
        _ if line.starts_with(b"#<Thread:") && line.ends_with(b"(report_on_exception is true):") => {
            (Verdict::Start, Header)
        }
        _ if names_class(line) => (Verdict::Start, Message),
        Message => (Verdict::Maybe, Message),
        _ => (Verdict::Alone, Outside),
    }
}

/// What follows `PATH:LINE:in 'METHOD'`, the place of a frame, if there is one. Before 3.4 the first quote is a grave
/// accent. A path with a space is known by its indentation only.
fn place(line: &[u8]) -> Option<&[u8]> {
    let (text, is_indented) = unindented(line);
    let open = memmem::find(text, b":in `").or_else(|| memmem::find(text, b":in '"))?;
    let (path, method) = (&text[..open], &text[open + 5..]);
    let colon = path.iter().rposition(|byte| *byte == b':')?;
    let is_path = colon > 0 && (is_indented || !path.contains(&b' '));
    let is_line = after_digits(&path[colon + 1..])?.is_empty();
    let close = memchr::memchr(b'\'', method)?;
    (is_path && is_line).then(|| &method[close + 1..])
}

/// `… no price for cup (ArgumentError)`, and `NoMethodError (undefined method …):` of Rails.
fn names_class(line: &[u8]) -> bool {
    let is_class = |name: &[u8]| {
        let last = name.rsplit(|byte| *byte == b':').next().unwrap_or_default();
        last.first().is_some_and(u8::is_ascii_uppercase)
            && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_'))
    };
    if let Some(text) = line.strip_suffix(b"):") {
        let (text, _) = unindented(text);
        let end = memmem::find(text, b" (").unwrap_or(0);
        // A tag of the log may stand before it.
        return is_class(text[..end].rsplit(|byte| *byte == b' ').next().unwrap_or_default());
    }
    let Some(text) = line.strip_suffix(b")") else { return false };
    let open = memmem::rfind(text, b" (");
    open.is_some_and(|open| is_class(&text[open + 2..]))
}
