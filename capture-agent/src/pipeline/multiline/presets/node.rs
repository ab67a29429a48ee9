//! The errors of V8 as Node.js prints them: uncaught (`lib/internal/process`), by `console` (`lib/internal/util/inspect.js`)
//! or their `stack` alone.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::State::{Behind, Frames, Header, Message, Outside, Place, Properties, Quoted};
use super::{State, after_digits, is_pointer, names_error, unindented};
use crate::pipeline::multiline::rules::Verdict;

static KINDS: LazyLock<[Finder<'static>; 3]> = LazyLock::new(|| ["Error", "Exception", "Rejection"].map(Finder::new));

pub(super) fn judge(state: State, line: &[u8]) -> (Verdict, State) {
    let (text, is_indented) = unindented(line);
    if is_indented && text.starts_with(b"at ") {
        // Errors among the properties have frames too.
        let has_properties = state == Properties || line.ends_with(b" {");
        return (Verdict::Continue, if has_properties { Properties } else { Frames });
    }
    match state {
        // The line that threw, and a mark below it.
        Place => (Verdict::Maybe, Quoted),
        Quoted if is_pointer(line) => (Verdict::Continue, Header),
        Header if text.is_empty() => (Verdict::Maybe, Header),
        Header => (Verdict::Continue, if is_end(line) { Outside } else { Message }),
        Properties if line == b"}" => (Verdict::Continue, Behind),
        Properties if is_indented => (Verdict::Continue, Properties),
        Frames if is_indented && !text.is_empty() => (Verdict::Continue, Frames),
        // `Emitted 'error' event on Socket instance at:`
        Frames | Behind if line.starts_with(b"Emitted '") => (Verdict::Continue, Frames),
        Frames | Behind if text.is_empty() => (Verdict::Maybe, Behind),
        Frames | Behind | Message if is_end(line) => (Verdict::Continue, Outside),
        _ if is_error(line) => (Verdict::Start, if line.ends_with(b" {") { Properties } else { Message }),
        _ if is_place(line) => (Verdict::Start, Place),
        Message => (Verdict::Maybe, Message),
        _ => (Verdict::Alone, Outside),
    }
}

/// `TypeError: no user 7`, `Error [ERR_X]: …`, `DOMException [AbortError]: …`, `(node:7) Warning: …`, `Uncaught …`.
fn is_error(line: &[u8]) -> bool {
    let has_code = || {
        let open = memchr::memmem::find(line, b" [");
        open.is_some_and(|open| memchr::memmem::find(&line[open..], b"]: ").is_some())
    };
    names_error(line, &*KINDS) || line.starts_with(b"(node:") || line.starts_with(b"Uncaught ") || has_code()
}

/// `/app/index.js:3`, `node:internal/process/promises:389`, `file:///app/index.mjs:3`.
fn is_place(line: &[u8]) -> bool {
    let is_path = line.starts_with(b"/") || line.starts_with(b"node:") || line.starts_with(b"file:///");
    let ends_with_number = || {
        let colon = line.iter().rposition(|byte| *byte == b':');
        colon.is_some_and(|colon| after_digits(&line[colon + 1..]).is_some_and(<[u8]>::is_empty))
    };
    is_path && !line.contains(&b' ') && ends_with_number()
}

fn is_end(line: &[u8]) -> bool {
    line.starts_with(b"Node.js v") || line.starts_with(b"(Use `node --trace-")
}
