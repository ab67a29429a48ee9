//! Which containers to inspect next, and which to forget.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

/// Bound of each of the two queues.
const CAPACITY: usize = 1024;
/// How long a container that is gone keeps its name, for sessions that still drain its output.
const GRACE: Duration = Duration::from_mins(5);
/// Containers that are gone and keep their names: 27 that end each second. More push out the oldest.
const GONE_CAPACITY: usize = 8192;
/// Containers that are known to be there. What is beyond that is asked for one by one.
const ALIVE_CAPACITY: usize = 65_536;

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
        if !self.members.insert(id.clone()) {
            // It must not wait behind what nobody waits for, nor give way to it.
            let before = self.refresh.len();
            self.refresh.retain(|other| *other != id);
            if self.refresh.len() == before {
                return;
            }
        }
        self.wanted.push_back(id);
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
    gone: HashMap<String, Instant>,
    /// Those of `gone`, and some that came back, by the time of their end.
    expiring: VecDeque<(Instant, String)>,
}

impl Roster {
    /// The engine listed or created it. `false` where there are too many to keep it.
    pub(super) fn appeared(&mut self, id: &str) -> bool {
        if !self.alive.contains(id) && self.alive.len() >= ALIVE_CAPACITY {
            return false;
        }
        self.gone.remove(id);
        self.alive.insert(id.to_owned());
        true
    }

    /// The engine described it. Its answer may be older than the news of its end.
    pub(super) fn described(&mut self, id: &str, now: Instant) {
        if !self.gone.contains_key(id) && !self.appeared(id) {
            self.disappeared(id.to_owned(), now);
        }
    }

    /// It is gone, or was never there.
    pub(super) fn disappeared(&mut self, id: String, now: Instant) {
        self.alive.remove(&id);
        if let Entry::Vacant(vacant) = self.gone.entry(id.clone()) {
            vacant.insert(now);
            self.expiring.push_back((now, id));
        }
    }

    /// Takes `listed` as all that there are.
    pub(super) fn reconcile(&mut self, listed: &HashSet<String>, now: Instant) {
        let missing: Vec<_> = self.alive.difference(listed).cloned().collect();
        for id in missing {
            self.disappeared(id, now);
        }
    }

    /// The next container whose entry is no longer needed.
    pub(super) fn expire(&mut self, now: Instant) -> Option<String> {
        while let Some((since, _)) = self.expiring.front()
            && (self.expiring.len() > GONE_CAPACITY || now.saturating_duration_since(*since) >= GRACE)
        {
            let (since, id) = self.expiring.pop_front()?;
            // One that came back in the meantime, and perhaps ended again, does not end by its first end.
            if self.gone.get(&id) == Some(&since) {
                self.gone.remove(&id);
                return Some(id);
            }
        }
        None
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
        assert_eq!(queue.pop().as_deref(), Some("b"));
        assert_eq!(queue.pop().as_deref(), Some("a"));
        assert_eq!(queue.pop(), None);
        queue.push_wanted("a".into());
        assert_eq!(queue.take_wanted(), ["a"]);
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn what_a_session_waits_for_overtakes_and_is_not_lost_in_a_flood() {
        let mut queue = Queue::default();
        queue.push_refresh("a".into());
        queue.push_refresh("b".into());
        queue.push_wanted("b".into());
        for id in 0..2 * CAPACITY {
            queue.push_refresh(id.to_string());
        }
        assert_eq!(queue.take_wanted(), ["b"]);
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

    fn expired(roster: &mut Roster, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| roster.expire(now)).collect()
    }

    #[test]
    fn a_destroyed_container_is_forgotten_once_and_only_after_the_grace() {
        let (mut roster, start) = (Roster::default(), Instant::now());
        roster.appeared("a");
        roster.disappeared("a".into(), start);
        roster.disappeared("a".into(), start);
        roster.described("a", start);
        assert!(roster.alive.is_empty(), "an answer that is older than the end");
        assert!(expired(&mut roster, start + GRACE / 2).is_empty());
        assert_eq!(expired(&mut roster, start + GRACE), ["a"]);
        assert!(expired(&mut roster, start + GRACE * 2).is_empty());
    }

    #[test]
    fn one_that_came_back_has_the_whole_grace_after_its_last_end() {
        let (mut roster, start) = (Roster::default(), Instant::now());
        roster.disappeared("a".into(), start);
        roster.appeared("a");
        roster.disappeared("a".into(), start + GRACE / 2);
        assert!(expired(&mut roster, start + GRACE).is_empty());
        assert_eq!(expired(&mut roster, start + GRACE / 2 + GRACE), ["a"]);
    }

    #[test]
    fn a_list_ends_what_it_lacks() {
        let (mut roster, start) = (Roster::default(), Instant::now());
        roster.appeared("a");
        roster.appeared("b");
        roster.reconcile(&HashSet::from(["b".to_owned()]), start);
        assert_eq!(roster.alive, HashSet::from(["b".to_owned()]));
        assert_eq!(expired(&mut roster, start + GRACE), ["a"]);
    }

    #[test]
    fn churn_pushes_out_the_oldest() {
        let (mut roster, start) = (Roster::default(), Instant::now());
        let mut forgotten = Vec::new();
        for id in 0..GONE_CAPACITY + 3 {
            roster.appeared(&id.to_string());
            roster.disappeared(id.to_string(), start);
            forgotten.extend(expired(&mut roster, start));
        }
        assert_eq!(forgotten, ["0", "1", "2"]);
        assert_eq!((roster.gone.len(), roster.expiring.len()), (GONE_CAPACITY, GONE_CAPACITY));
    }

    #[test]
    fn those_that_are_there_are_bounded_and_the_rest_is_known_for_a_while() {
        let (mut roster, start) = (Roster::default(), Instant::now());
        for id in 0..ALIVE_CAPACITY {
            assert!(roster.appeared(&id.to_string()));
        }
        assert!(roster.appeared("0") && !roster.appeared("one more"));
        roster.described("one more", start);
        assert_eq!(roster.alive.len(), ALIVE_CAPACITY);
        assert_eq!(expired(&mut roster, start + GRACE), ["one more"]);
    }
}
