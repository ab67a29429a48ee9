//! A stream of `text/event-stream`, event by event.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// An agent says something every ten seconds, if only that there is nothing new.
const SILENCE: Duration = Duration::from_secs(30);
/// More than any record has.
const LONGEST_EVENT: usize = 64 << 20;

/// Events, as they come.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    text: Splitter,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Empty for a record.
    pub name: String,
    /// JSON.
    pub data: Bytes,
}

impl Events {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, text: Splitter::default() }
    }

    /// Whether one has come already that [`next`](Self::next) has not given.
    #[must_use]
    pub fn has_next(&self) -> bool {
        self.text.has_next()
    }

    /// The next one.
    ///
    /// # Errors
    ///
    /// Why there is none any more, as the end of a sentence.
    pub async fn next(&mut self) -> Result<Event, String> {
        loop {
            if let Some(event) = self.text.next() {
                return Ok(event);
            }
            let frame = tokio::time::timeout(SILENCE, self.body.frame()).await;
            let frame = frame.map_err(|_| "it has said nothing for too long")?;
            let frame = frame.ok_or("its stream ended")?.map_err(|error| format!("its stream broke: {error}"))?;
            if let Ok(data) = frame.into_data() {
                self.text.push(&data)?;
            }
        }
    }
}

/// Finds events in what comes in pieces.
#[derive(Debug, Default)]
struct Splitter {
    text: BytesMut,
    /// Up to here there is no end of an event.
    looked_at: usize,
}

impl Splitter {
    fn push(&mut self, piece: &[u8]) -> Result<(), String> {
        if self.text.len() + piece.len() > LONGEST_EVENT {
            return Err("it sends what is no event".to_owned());
        }
        self.text.extend_from_slice(piece);
        Ok(())
    }

    fn has_next(&self) -> bool {
        memchr::memmem::find(&self.text[self.looked_at..], b"\n\n").is_some()
    }

    fn next(&mut self) -> Option<Event> {
        loop {
            let end = memchr::memmem::find(&self.text[self.looked_at..], b"\n\n").map(|end| self.looked_at + end);
            let Some(end) = end else {
                self.looked_at = self.text.len().saturating_sub(1);
                return None;
            };
            let block = self.text.split_to(end + 2).freeze();
            self.looked_at = 0;
            if let Some(event) = event(&block) {
                return Some(event);
            }
        }
    }
}

/// An event of a block; `None` for a comment. The agent writes one line of data for each.
fn event(block: &Bytes) -> Option<Event> {
    let (mut name, mut data) = (String::new(), None);
    for line in block.split(|byte| *byte == b'\n') {
        if let Some(value) = line.strip_prefix(b"data: ") {
            data = Some(block.slice_ref(value));
        } else if let Some(value) = line.strip_prefix(b"event: ") {
            name = String::from_utf8_lossy(value).into_owned();
        }
    }
    data.map(|data| Event { name, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_however_they_are_cut() {
        let text = b"event: hello\ndata: {}\n\n: nothing new\n\ndata: {\"a\":1}\n\ndata: {\"b\":2}\n\n";
        let whole: Vec<_> = [("hello", "{}"), ("", "{\"a\":1}"), ("", "{\"b\":2}")]
            .map(|(name, data)| Event { name: name.to_owned(), data: Bytes::from_static(data.as_bytes()) })
            .into();
        for size in 1..=text.len() {
            let (mut splitter, mut events) = (Splitter::default(), Vec::new());
            for piece in text.chunks(size) {
                splitter.push(piece).unwrap();
                events.extend(std::iter::from_fn(|| splitter.next()));
            }
            assert_eq!(events, whole, "pieces of {size}");
        }
    }
}
