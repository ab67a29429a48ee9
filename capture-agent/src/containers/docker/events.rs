//! The subscription to container events, and what an event says.

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::ClientVersion;
use bollard::errors::Error;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::{Stream, StreamExt};

use super::health::{Failure, SocketHealth};
use super::transport::Line;
use crate::containers::directory::Metadata;

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
    /// Time of the newest event, or of the first subscription, since the Unix epoch.
    newest: Duration,
    order: VecDeque<(i64, String, String)>,
    seen: HashSet<(i64, String, String)>,
}

impl Replay {
    /// The `since` of the next subscription.
    pub(super) fn since(&mut self, now: SystemTime) -> String {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.newest.is_zero() {
            self.newest = now;
        }
        // A clock that was set back must not put the start into the future.
        let since = self.newest.min(now).saturating_sub(OVERLAP);
        format!("{}.{:09}", since.as_secs(), since.subsec_nanos())
    }

    /// Whether the event comes for the first time.
    pub(super) fn is_new(&mut self, event: &EventMessage) -> bool {
        let time = event.time_nano.unwrap_or_default();
        self.newest = self.newest.max(Duration::from_nanos(u64::try_from(time).unwrap_or_default()));
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
    stream: Pin<Box<dyn Stream<Item = Result<EventMessage, Error>> + Send>>,
    /// Came before the head of the answer was noticed.
    first: Option<EventMessage>,
    health: Arc<SocketHealth>,
    /// Dropped last: it closes the connection.
    _line: Line,
}

impl Subscription {
    /// Subscribes from `since` on; done when the engine has accepted.
    pub(super) async fn open(
        line: Line,
        version: &ClientVersion,
        since: &str,
        health: Arc<SocketHealth>,
    ) -> Result<Self, Failure> {
        let owned = |values: &[&str]| values.iter().map(ToString::to_string).collect::<Vec<_>>();
        let filters = HashMap::from([
            ("type".to_owned(), owned(&["container"])),
            ("event".to_owned(), owned(&["create", "rename", "destroy"])),
        ]);
        let options = EventsOptionsBuilder::new().since(since).filters(&filters).build();
        let mut stream = line.docker(version)?.events(Some(options)).boxed();

        // The request is sent by polling the stream, which says nothing until the first event.
        let accepted = async {
            tokio::select! {
                biased;
                item = stream.next() => item.map(Some).ok_or_else(Failure::closed),
                () = line.answered() => Ok(None),
            }
        };
        let deadline = line.deadline();
        let started = std::time::Instant::now();
        let accepted = tokio::time::timeout(deadline, accepted).await;
        health.observe(started.elapsed());
        let first = accepted.map_err(|_| Failure::timeout(deadline))??.transpose()?;
        health.events_opened();
        Ok(Self { stream, first, health, _line: line })
    }

    /// The next event. Keeps its place when it is dropped before it is ready.
    pub(super) async fn next(&mut self) -> Result<EventMessage, Failure> {
        match self.first.take() {
            Some(event) => Ok(event),
            None => Ok(self.stream.next().await.ok_or_else(Failure::closed)??),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.health.events_closed();
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
        for time in 0..10_000 {
            assert!(replay.is_new(&event("create", "ab", time, &[])));
        }
        assert_eq!((replay.order.len(), replay.seen.len()), (REMEMBERED, REMEMBERED));
        assert!(!replay.is_new(&event("create", "ab", 9_999, &[])));
    }

    #[test]
    fn a_subscription_starts_a_little_before_the_last_event() {
        let at = |seconds, nanos| UNIX_EPOCH + Duration::new(seconds, nanos);
        let mut replay = Replay::default();
        assert_eq!(replay.since(at(100, 5)), "99.000000005", "nothing seen yet: now");
        assert_eq!(replay.since(at(160, 0)), "99.000000005", "still nothing seen: not a gap of a minute");
        replay.is_new(&event("create", "ab", 150_000_000_123, &[]));
        assert_eq!(replay.since(at(160, 0)), "149.000000123");
        assert_eq!(replay.since(at(20, 0)), "19.000000000", "the clock was set back");
    }
}
