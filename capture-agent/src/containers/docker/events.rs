//! The subscription to container events, and what an event says.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::ClientVersion;
use bollard::models::EventMessage;
use bytes::BytesMut;
use hyper::body::Incoming;
use hyper::header::{DATE, HeaderMap};

use super::failure::Failure;
use super::transport::Line;
use crate::containers::directory::Metadata;
use crate::socket::{FailureKind, SocketHealth};

/// `{"type":["container"],"event":["create","rename","destroy"]}`, as a query takes it.
const FILTERS: &str = "%7B%22type%22%3A%5B%22container%22%5D%2C\
                       %22event%22%3A%5B%22create%22%2C%22rename%22%2C%22destroy%22%5D%7D";
/// Longest event, in bytes; a creation carries all labels.
const LONGEST_EVENT: usize = 1 << 20;
/// How far a new subscription reaches back before the last event that was seen. The engine stamps events before it
/// puts them in order, so that one can stand after another and yet be older.
const OVERLAP: Duration = Duration::from_secs(1);
/// An engine replays at most 256 events (`eventsLimit` of moby's `daemon/events`), so that older ones cannot come back.
const REMEMBERED: usize = 512;

/// What an event says of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is new, and this is what the event tells of it. A label called `name` or `image` is not in it.
    Created(Metadata),
    /// It has another name now.
    Renamed(String),
    /// It is gone.
    Destroyed(String),
}

impl Change {
    /// `None` for an event that changes no metadata.
    pub(super) fn from_event(event: EventMessage) -> Option<Self> {
        let actor = event.actor?;
        let id = actor.id?;
        match event.action?.as_str() {
            "create" => {
                let mut attributes = actor.attributes.unwrap_or_default();
                let name = attributes.remove("name").unwrap_or_default();
                let image = attributes.remove("image").unwrap_or_default();
                Some(Self::Created(Metadata { id, name, image, labels: attributes.into_iter().collect() }))
            }
            "rename" => Some(Self::Renamed(id)),
            "destroy" => Some(Self::Destroyed(id)),
            _ => None,
        }
    }
}

/// Where the subscription stands. Outlives the connections, so that no event is lost or handled twice between them.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// Time of the newest event, or of the first subscription, since the Unix epoch; by the engine's clock.
    newest: Option<Duration>,
    order: VecDeque<(i64, String, String)>,
    seen: HashSet<(i64, String, String)>,
}

impl Replay {
    /// The `since` of the next subscription. The first has none: what was before it is in the list that follows it.
    pub(super) fn since(&self) -> Option<String> {
        let since = self.newest?.saturating_sub(OVERLAP);
        Some(format!("{}.{:09}", since.as_secs(), since.subsec_nanos()))
    }

    /// A subscription began at this time of the engine's clock.
    pub(super) fn subscribed(&mut self, at: Duration) {
        // A clock that was set back must not put the start of the next one into the future.
        self.newest = Some(self.newest.map_or(at, |newest| newest.min(at + OVERLAP)));
    }

    /// Whether the event comes for the first time.
    pub(super) fn is_new(&mut self, event: &EventMessage) -> bool {
        let time = event.time_nano.unwrap_or_default();
        self.newest = self.newest.max(Some(Duration::from_nanos(u64::try_from(time).unwrap_or_default())));
        let id = event.actor.as_ref().and_then(|actor| actor.id.clone()).unwrap_or_default();
        let key = (time, id, event.action.clone().unwrap_or_default());
        if !self.seen.insert(key.clone()) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }
}

/// An open event stream.
pub(super) struct Subscription {
    line: Line,
    body: Incoming,
    lines: Lines,
    health: Arc<SocketHealth>,
}

impl Subscription {
    /// Subscribes where `replay` stands; done when the engine has accepted.
    pub(super) async fn open(
        line: Line,
        version: &ClientVersion,
        replay: &mut Replay,
        health: Arc<SocketHealth>,
    ) -> Result<Self, Failure> {
        let since = replay.since().map(|since| format!("&since={since}")).unwrap_or_default();
        let answer = line.open(&format!("/v{version}/events?filters={FILTERS}{since}")).await?;
        replay.subscribed(engine_time(answer.headers()));
        health.opened();
        Ok(Self { line, body: answer.into_body(), lines: Lines::default(), health })
    }

    /// The next event. Keeps its place when it is dropped before it is ready.
    pub(super) async fn next(&mut self) -> Result<EventMessage, Failure> {
        loop {
            if let Some(line) = self.lines.next()? {
                let not_one = |error| Failure::new(FailureKind::Protocol, format!("the engine sent no event: {error}"));
                return serde_json::from_slice(&line).map_err(not_one);
            }
            let closed = || Failure::new(FailureKind::Closed, "the engine closed the event stream");
            let piece = self.line.next_piece(&mut self.body).await?.ok_or_else(closed)?;
            self.lines.push(&piece);
        }
    }
}

/// When the engine answered, by its own clock to the second, or by ours if it does not say.
fn engine_time(headers: &HeaderMap) -> Duration {
    let date = headers.get(DATE).and_then(|date| jiff::fmt::rfc2822::parse(date.to_str().ok()?).ok());
    let date = date.and_then(|date| u64::try_from(date.timestamp().as_second()).ok()).map(Duration::from_secs);
    date.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// What came of the stream and was not read yet: an event a line.
#[derive(Debug, Default)]
struct Lines {
    buffer: BytesMut,
    /// Bytes at its start that hold no end of a line.
    searched: usize,
}

impl Lines {
    fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next line that is complete and not empty. A peer that never ends one is given up.
    fn next(&mut self) -> Result<Option<BytesMut>, Failure> {
        while let Some(end) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
            let line = self.buffer.split_to(self.searched + end + 1);
            self.searched = 0;
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
        self.searched = self.buffer.len();
        if self.searched > LONGEST_EVENT {
            return Err(Failure::new(FailureKind::Protocol, "the engine sent an event without an end"));
        }
        Ok(None)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.health.closed();
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::EventActor;

    use super::*;

    fn event(action: &str, id: &str, time_nano: i64, attributes: &[(&str, &str)]) -> EventMessage {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        EventMessage {
            action: Some(action.to_owned()),
            actor: Some(EventActor { id: Some(id.to_owned()), attributes: Some(attributes) }),
            time_nano: Some(time_nano),
            ..EventMessage::default()
        }
    }

    #[test]
    fn a_create_event_names_the_container_before_any_inspect() {
        let event = event("create", "ab", 1, &[("name", "web"), ("image", "shop:2"), ("tier", "front"), ("a.b", "")]);
        let Some(Change::Created(metadata)) = Change::from_event(event) else { panic!("not a creation") };
        assert_eq!((metadata.id.as_str(), metadata.name.as_str(), metadata.image.as_str()), ("ab", "web", "shop:2"));
        let labels: Vec<_> = metadata.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(labels, [("a.b", ""), ("tier", "front")]);
    }

    #[test]
    fn other_events_change_nothing_and_incomplete_ones_are_no_panic() {
        assert_eq!(Change::from_event(event("rename", "ab", 1, &[])), Some(Change::Renamed("ab".to_owned())));
        assert_eq!(Change::from_event(event("destroy", "ab", 1, &[])), Some(Change::Destroyed("ab".to_owned())));
        assert_eq!(Change::from_event(event("exec_create: sh", "ab", 1, &[])), None);
        assert_eq!(Change::from_event(EventMessage::default()), None);
    }

    #[test]
    fn the_same_event_counts_once_and_another_at_the_same_time_counts_too() {
        let mut replay = Replay::default();
        assert!(replay.is_new(&event("create", "ab", 7, &[])));
        assert!(!replay.is_new(&event("create", "ab", 7, &[])));
        assert!(replay.is_new(&event("create", "cd", 7, &[])));
        assert!(replay.is_new(&event("destroy", "ab", 7, &[])));
        assert!(replay.is_new(&event("create", "ab", 6, &[])), "an older event that comes late");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut replay = Replay::default();
        for time in 1..10_000 {
            assert!(replay.is_new(&event("create", "ab", time, &[])));
        }
        assert_eq!((replay.order.len(), replay.seen.len()), (REMEMBERED, REMEMBERED));
        assert!(!replay.is_new(&event("create", "ab", 9_999, &[])));
    }

    #[test]
    fn a_subscription_starts_a_little_before_the_last_event() {
        let at = |seconds, nanos| Duration::new(seconds, nanos);
        let mut replay = Replay::default();
        assert_eq!(replay.since(), None);
        replay.subscribed(at(100, 0));
        assert_eq!(replay.since().as_deref(), Some("99.000000000"), "nothing seen yet");
        replay.subscribed(at(160, 0));
        assert_eq!(replay.since().as_deref(), Some("99.000000000"), "still nothing seen: not a gap of a minute");
        replay.is_new(&event("create", "ab", 150_000_000_123, &[]));
        assert_eq!(replay.since().as_deref(), Some("149.000000123"));
        replay.subscribed(at(150, 0));
        assert_eq!(replay.since().as_deref(), Some("149.000000123"), "the header is rounded down to a second");
        replay.subscribed(at(20, 0));
        assert_eq!(replay.since().as_deref(), Some("20.000000000"), "the clock was set back");
    }

    #[test]
    fn the_time_of_a_subscription_is_the_engines() {
        let headers = HeaderMap::from_iter([(DATE, "Sat, 21 Nov 2026 14:28:23 GMT".parse().unwrap())]);
        assert_eq!(engine_time(&headers), Duration::from_secs(1_795_271_303));
        assert!(engine_time(&HeaderMap::new()) > Duration::from_secs(1_700_000_000), "the local clock");
    }

    #[test]
    fn the_filters_are_json() {
        let text = FILTERS.replace("%7B", "{").replace("%7D", "}").replace("%5B", "[").replace("%5D", "]");
        let text = text.replace("%22", "\"").replace("%3A", ":").replace("%2C", ",");
        let filters: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(filters["event"], serde_json::json!(["create", "rename", "destroy"]));
        assert_eq!(filters["type"], serde_json::json!(["container"]));
    }

    #[test]
    fn a_line_may_come_in_pieces_but_must_end() {
        let mut lines = Lines::default();
        lines.push(b"{\"a\":1}\n\r\n{\"b\"");
        assert_eq!(lines.next().unwrap().unwrap().trim_ascii(), b"{\"a\":1}");
        assert!(lines.next().unwrap().is_none());
        lines.push(b":2}\n");
        assert_eq!(lines.next().unwrap().unwrap().trim_ascii(), b"{\"b\":2}");
        lines.push(&vec![b'x'; LONGEST_EVENT]);
        assert!(lines.next().unwrap().is_none());
        lines.push(b"x");
        assert_eq!(lines.next().unwrap_err().kind, FailureKind::Protocol);
    }
}
