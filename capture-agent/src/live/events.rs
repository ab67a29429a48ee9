//! Records and notes as `text/event-stream` (HTML standard, section "Server-sent events").

use serde::Serialize;

use crate::pipeline::record::Record;
use crate::sinks::encode::{Encoder, Encoding};

/// Writes events.
#[derive(Debug)]
pub(super) struct Events {
    encoder: Encoder,
}

impl Events {
    pub(super) fn new(host: &str) -> Self {
        Self { encoder: Encoder::new(Encoding::Json, host.to_owned(), false) }
    }

    /// Appends a record, which is one line, as an event without a name.
    pub(super) fn record(&mut self, record: &Record, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: ");
        // Ends with a newline, and has no other: JSON escapes them.
        self.encoder.encode(record, out);
        out.push(b'\n');
    }
}

/// Appends an event of a name of its own.
pub(super) fn note(name: &str, data: &impl Serialize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    // Writing to a vector cannot fail, and what is written has text for keys.
    let _ = serde_json::to_writer(&mut *out, data);
    out.extend_from_slice(b"\n\n");
}

/// What a connection carries while there is nothing to tell, so that both ends know that it is there.
pub(super) const NOTHING: &[u8] = b": nothing new\n\n";
