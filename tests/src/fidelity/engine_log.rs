//! What the engine has logged: its `json-file` read straight from the disk.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// Longest piece of a line that the engine hands to a log driver (`defaultBufSize` in moby's `daemon/logger/copier.go`).
const PIECE: usize = 16 * 1024;

/// One entry of a `json-file` log.
pub(super) struct Entry {
    pub(super) stream: String,
    pub(super) text: String,
    /// RFC 3339 in UTC with nanoseconds: comparable as text up to its fraction.
    pub(super) time: String,
}

/// Reads a whole log.
///
/// # Errors
/// When the file cannot be read, or a line is no entry.
pub(super) fn read(path: &Path) -> Result<Vec<Entry>> {
    let bytes = std::fs::read(path).with_context(|| format!("{}", path.display()))?;
    bytes
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            let value: Value = serde_json::from_slice(line).context("the engine's log has a line that is no JSON")?;
            let text = |key: &str| {
                value[key]
                    .as_str()
                    .map(str::to_owned)
                    .with_context(|| format!("an entry of the engine's log has no {key}"))
            };
            // The engine leaves `log` out where it is empty.
            Ok(Entry { stream: text("stream")?, text: text("log").unwrap_or_default(), time: text("time")? })
        })
        .collect()
}

/// The text of one stream.
pub(super) fn stream(entries: &[Entry], stream: &str) -> Vec<u8> {
    entries.iter().filter(|entry| entry.stream == stream).flat_map(|entry| entry.text.bytes()).collect()
}

/// What the engine makes of bytes that are not UTF-8: each one that belongs to no character becomes U+FFFD, and a
/// character that is cut by the end of a piece counts as such bytes.
pub(super) fn as_logged(bytes: &[u8]) -> Vec<u8> {
    let mut logged = Vec::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        // The newline does not count: it is cut off first and added again.
        let (text, newline) = match line.split_last() {
            Some((b'\n', text)) => (text, &b"\n"[..]),
            _ => (line, &b""[..]),
        };
        text.chunks(PIECE).for_each(|piece| replace(piece, &mut logged));
        logged.extend_from_slice(newline);
    }
    logged
}

fn replace(piece: &[u8], logged: &mut Vec<u8>) {
    for chunk in piece.utf8_chunks() {
        logged.extend_from_slice(chunk.valid().as_bytes());
        // Go counts bytes, not maximal sequences.
        for _ in chunk.invalid() {
            logged.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_byte_is_replaced_by_itself() {
        assert_eq!(as_logged(b"a\xe2\x82z\xff\n"), "a\u{fffd}\u{fffd}z\u{fffd}\n".as_bytes());
        assert_eq!(as_logged("ü€\n".as_bytes()), "ü€\n".as_bytes());
    }

    #[test]
    fn a_character_on_the_edge_of_a_piece_is_lost() {
        let mut line = vec![b'a'; PIECE - 1];
        line.extend_from_slice("ü\n".as_bytes());
        let logged = as_logged(&line);
        assert_eq!(&logged[PIECE - 1..], "\u{fffd}\u{fffd}\n".as_bytes());
    }
}
