//! Which containers to inspect next, and which to forget.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

/// Bound of each of the two queues.
const CAPACITY: usize = 1024;
/// How long a container that is gone keeps its name, for sessions that still drain its output.
const GRACE: Duration = Duration::from_mins(5);

/// Ids that wait for an inspection. Ids that a session waits for go first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    wanted: VecDeque<String>,
    refresh: VecDeque<String>,
    members: HashSet<String>,
}

impl Queue {
    pub(super) fn has_room(&self) -> bool {
        self.wanted.len() < CAPACITY
    }

    /// A session waits for it.
    pub(super) fn push_wanted(&mut self, id: String) {
        if self.members.insert(id.clone()) {
            self.wanted.push_back(id);
        }
    }

    /// What is known of it may be out of date. In a flood the oldest gives way: the next list has it.
    pub(super) fn push_refresh(&mut self, id: String) {
        if self.members.insert(id.clone()) {
            self.refresh.push_back(id);
        }
        if self.refresh.len() > CAPACITY
            && let Some(oldest) = self.refresh.pop_front()
        {
            self.members.remove(&oldest);
        }
    }

    pub(super) fn pop(&mut self) -> Option<String> {
        let id = self.wanted.pop_front().or_else(|| self.refresh.pop_front())?;
        self.members.remove(&id);
        Some(id)
    }

    /// Empties the queue and gives back what sessions wait for.
    pub(super) fn take_wanted(&mut self) -> VecDeque<String> {
        let wanted = std::mem::take(&mut self.wanted);
        *self = Self::default();
        wanted
    }
}

/// Containers that have an entry in the directory because of the engine, so that none stays for ever.
#[derive(Debug, Default)]
pub(super) struct Roster {
    alive: HashSet<String>,
    gone: HashSet<String>,
    expiring: VecDeque<(Instant, String)>,
}

impl Roster {
    pub(super) fn is_alive(&self, id: &str) -> bool {
        self.alive.contains(id)
    }

    /// The engine listed or created it.
    pub(super) fn appeared(&mut self, id: &str) {
        self.gone.remove(id);
        self.alive.insert(id.to_owned());
    }

    /// The engine described it. Its answer may be older than the news of its end.
    pub(super) fn described(&mut self, id: &str) {
        if !self.gone.contains(id) {
            self.alive.insert(id.to_owned());
        }
    }

    /// It is gone, or was never there.
    pub(super) fn disappeared(&mut self, id: String, now: Instant) {
        self.alive.remove(&id);
        if self.gone.insert(id.clone()) {
            self.expiring.push_back((now, id));
        }
    }

    /// Takes `listed` as all that there are.
    pub(super) fn reconcile(&mut self, listed: &HashSet<String>, now: Instant) {
        let missing: Vec<_> = self.alive.difference(listed).cloned().collect();
        for id in missing {
            self.disappeared(id, now);
        }
        for id in listed {
            self.appeared(id);
        }
    }

    /// Containers whose entries are no longer needed.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<String> {
        let mut expired = Vec::new();
        while self.expiring.front().is_some_and(|(since, _)| now.saturating_duration_since(*since) >= GRACE) {
            if let Some((_, id)) = self.expiring.pop_front()
                && self.gone.remove(&id)
            {
                expired.push(id);
            }
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_served_before_refreshes_and_nothing_is_asked_twice() {
        let mut queue = Queue::default();
        queue.push_refresh("a".into());
        queue.push_wanted("b".into());
        queue.push_wanted("b".into());
        queue.push_wanted("a".into());
        assert_eq!(queue.pop().as_deref(), Some("b"));
        assert_eq!(queue.pop().as_deref(), Some("a"));
        assert_eq!(queue.pop(), None);
        queue.push_wanted("a".into());
        assert_eq!(queue.take_wanted(), ["a"]);
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn the_queues_are_bounded() {
        let mut queue = Queue::default();
        for id in 0..3 * CAPACITY {
            queue.push_refresh(format!("refresh {id}"));
            if queue.has_room() {
                queue.push_wanted(format!("wanted {id}"));
            }
        }
        assert_eq!((queue.wanted.len(), queue.refresh.len(), queue.members.len()), (CAPACITY, CAPACITY, 2 * CAPACITY));
    }

    #[test]
    fn a_destroyed_container_is_forgotten_once_and_only_after_the_grace() {
        let (mut roster, start) = (Roster::default(), Instant::now());
        roster.appeared("a");
        roster.disappeared("a".into(), start);
        roster.disappeared("a".into(), start);
        roster.described("a");
        assert!(!roster.is_alive("a"), "an answer that is older than the end");
        assert!(roster.expire(start + GRACE / 2).is_empty());
        assert_eq!(roster.expire(start + GRACE), ["a"]);
        assert!(roster.expire(start + GRACE * 2).is_empty());
    }

    #[test]
    fn a_list_ends_what_it_lacks_and_brings_back_what_was_unknown() {
        let (mut roster, start) = (Roster::default(), Instant::now());
        roster.appeared("a");
        roster.disappeared("b".into(), start);
        roster.reconcile(&HashSet::from(["b".to_owned()]), start);
        assert!(!roster.is_alive("a") && roster.is_alive("b"));
        assert_eq!(roster.expire(start + GRACE), ["a"]);
    }
}
