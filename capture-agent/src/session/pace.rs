//! When the reader looks again at what does not come as a record: seldom, while nothing is to be expected.
//!
//! A look costs a wake-up and a little for each session. On a host that is silent that is all that the agent does.

use std::time::{Duration, Instant};

use super::reader::{Reader, ReaderConfig};

/// How often while output comes.
pub(super) const TICK: Duration = Duration::from_millis(100);
/// How often while records wait for a name or for a hole to be filled, or a seal for what lies before it.
const URGENT_TICK: Duration = Duration::from_millis(10);
/// How often while nothing comes. A change that no record tells of is seen so late at most: a slot whose mark found no room,
/// lost bytes that nothing follows.
const IDLE_TICK: Duration = Duration::from_secs(1);

/// What the rhythm of the looks depends on, beside what a session knows itself.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The next look is further away than usual.
    pub(super) is_idle: bool,
    /// The last one found slots whose container is gone.
    pub(super) has_ended_slots: bool,
}

impl Reader {
    /// When the next look is due, after one at `now`.
    pub(super) fn next_tick(&mut self, now: Instant) -> Instant {
        self.pace.is_idle = false;
        if self.is_urgent() {
            return now + URGENT_TICK;
        }
        let usual = now + TICK;
        if self.bytes_read > 0 || self.pace.has_ended_slots || !self.is_up_to_date() {
            return usual;
        }
        let next = self.next_deadline().map_or(now + IDLE_TICK, |deadline| deadline.min(now + IDLE_TICK));
        self.pace.is_idle = next > usual;
        next.max(usual)
    }

    /// Joins what the engine has said while nothing came, so that what comes now has it.
    pub(super) fn follow_names(&mut self, now: Instant) {
        if self.have_names_changed() {
            let ReaderConfig { directory, ledger, .. } = &self.config;
            for session in self.sessions.iter_mut().flatten() {
                session.attach_metadata(directory, ledger, now, false, &mut self.batch);
            }
        }
    }

    fn is_urgent(&self) -> bool {
        !self.closing.is_empty()
            || self.sessions.iter().flatten().any(|session| {
                session.is_waiting_for_name()
                    || session.is_being_sealed()
                    || session.streams.iter().any(|stream| stream.waiting_since.is_some())
            })
    }

    fn is_up_to_date(&self) -> bool {
        self.sessions.iter().enumerate().all(|(index, session)| match (session, self.table.get(index as u32)) {
            (Some(session), Some(slot)) => session.is_up_to_date(slot),
            _ => true,
        })
    }

    /// Of what waits for a time: sessions to be sealed, lines that wait for the next one.
    fn next_deadline(&self) -> Option<Instant> {
        let rotation = self.sessions.iter().flatten().map(|session| session.rotation.latest()).min();
        [rotation, self.config.shaping.next_deadline()].into_iter().flatten().min()
    }
}
