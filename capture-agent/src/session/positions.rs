//! Where each container's output stands, over its sessions: what is saved when one is sealed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use super::state::{Saved, SavedStream, StateWriter};
use super::totals::KernelTotals;
use crate::pipeline::record::{Account, StreamAccount};

/// Of a container that writes nothing, one session in so many is saved: a file costs more than all the rest of a rotation.
const SILENT_SESSIONS: u64 = 10;

/// The positions of all containers that are known.
#[derive(Debug, Default)]
pub struct Positions {
    entries: HashMap<Arc<str>, Entry>,
    /// `None` where nothing is to outlive the agent.
    writer: Option<StateWriter>,
}

#[derive(Debug, Default)]
struct Entry {
    saved: Saved,
    /// What the sinks had counted by the last seal.
    account: [Taken; 2],
    /// Sessions since the last one that was saved.
    unsaved: u64,
}

/// What the sinks have counted of a stream.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    bytes: u64,
    dropped: u64,
    lines: u64,
}

impl Positions {
    /// Goes on where an earlier agent stopped.
    #[must_use]
    pub fn restore(writer: StateWriter, saved: Vec<Saved>) -> Self {
        let entries = saved
            .into_iter()
            .map(|saved| (Arc::clone(&saved.container_id), Entry { saved, ..Entry::default() }))
            .collect();
        Self { entries, writer: Some(writer) }
    }

    /// What an earlier session has saved of a container.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Saved> {
        self.entries.get(id).map(|entry| &entry.saved)
    }

    /// Ids of the containers that are known.
    pub fn ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.entries.keys()
    }

    /// Adds a session that was sealed, and has the container's state written if there is something new in it.
    pub fn sealed(&mut self, id: &Arc<str>, name: &str, kernel: &[KernelTotals; 2], account: &Account, ended: bool) {
        let Entry { saved, account: before, unsaved } = self.entries.entry(Arc::clone(id)).or_default();
        let old = saved.clone();
        saved.container_id = Arc::clone(id);
        name.clone_into(&mut saved.container_name);
        saved.sessions += 1;
        saved.sealed_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        saved.ended = ended;
        let streams = [&mut saved.stdout, &mut saved.stderr].into_iter().zip(kernel);
        for ((stream, kernel), (account, before)) in streams.zip(account.streams.iter().zip(before)) {
            let now = Taken::read(account);
            add(stream, kernel, &now, before);
            *before = now;
        }
        *unsaved += 1;
        // What is new in every session does not count.
        let is_new = *saved != Saved { sessions: saved.sessions, sealed_at: saved.sealed_at, ..old };
        if let Some(writer) = &self.writer
            && (is_new || *unsaved >= SILENT_SESSIONS)
        {
            *unsaved = 0;
            writer.save(saved.clone());
        }
    }

    /// Has everything written that is newer than its file.
    pub fn save_rest(&mut self) {
        if let Some(writer) = &self.writer {
            for entry in self.entries.values_mut().filter(|entry| entry.unsaved > 0) {
                entry.unsaved = 0;
                writer.save(entry.saved.clone());
            }
        }
    }

    /// Forgets a container that is gone for good.
    pub fn forget(&mut self, id: &Arc<str>) {
        if self.entries.remove(id).is_some()
            && let Some(writer) = &self.writer
        {
            writer.forget(id);
        }
    }
}

impl Taken {
    fn read(account: &StreamAccount) -> Self {
        Self {
            bytes: account.delivered.load(Relaxed),
            dropped: account.dropped.iter().map(|bytes| bytes.load(Relaxed)).sum(),
            lines: account.lines.load(Relaxed),
        }
    }
}

fn add(stream: &mut SavedStream, kernel: &KernelTotals, now: &Taken, before: &Taken) {
    stream.position += kernel.written;
    stream.captured += kernel.submitted;
    stream.lost += kernel.lost();
    stream.delivered += now.bytes.saturating_sub(before.bytes);
    stream.dropped += now.dropped.saturating_sub(before.dropped);
    stream.lines += now.lines.saturating_sub(before.lines);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::session::ledger::Ledger;
    use crate::session::state::StateDir;

    #[test]
    fn sessions_add_up_and_an_earlier_agent_counts() {
        let id: Arc<str> = "a".into();
        let mut positions = Positions::default();
        let stdout = SavedStream { position: 100, lines: 7, ..SavedStream::default() };
        let saved = Saved { container_id: Arc::clone(&id), sessions: 4, stdout, ..Saved::default() };
        positions.entries.insert(Arc::clone(&id), Entry { saved, ..Entry::default() });

        let account = Account::default();
        let kernel = [KernelTotals { written: 10, submitted: 8, lost: [2, 0, 0, 0] }, KernelTotals::default()];
        account.streams[0].lines.store(2, Relaxed);
        positions.sealed(&id, "web", &kernel, &account, false);
        account.streams[0].lines.store(5, Relaxed);
        positions.sealed(&id, "web", &kernel, &account, true);

        let saved = positions.get("a").unwrap();
        let expected = SavedStream { position: 120, captured: 16, lost: 4, lines: 12, ..SavedStream::default() };
        assert_eq!((&saved.stdout, saved.sessions, saved.ended), (&expected, 6, true));
        positions.forget(&id);
        assert!(positions.get("a").is_none());
    }

    #[test]
    fn a_silent_container_is_saved_now_and_then_and_at_the_end() {
        let (directory, ledger) = (tempfile::tempdir().unwrap(), Arc::new(Ledger::new(Duration::from_mins(5))));
        let sessions_saved = |sessions: u64, at_end: bool| {
            let (state, saved) = StateDir::open(directory.path(), &ledger).unwrap();
            let writer = StateWriter::start(state, Arc::clone(&ledger)).unwrap();
            let (mut positions, id) = (Positions::restore(writer, saved), Arc::from("a"));
            for _ in 0..sessions {
                positions.sealed(&id, "web", &Default::default(), &Account::default(), false);
            }
            if at_end {
                positions.save_rest();
            }
            drop(positions);
            StateDir::open(directory.path(), &ledger).unwrap().1[0].sessions
        };
        assert_eq!(sessions_saved(3, false), 1, "the first, so that it is known");
        assert_eq!(sessions_saved(SILENT_SESSIONS + 3, false), 1 + SILENT_SESSIONS);
        assert_eq!(sessions_saved(3, true), 1 + SILENT_SESSIONS + 3);

        let (state, saved) = StateDir::open(directory.path(), &ledger).unwrap();
        let writer = StateWriter::start(state, Arc::clone(&ledger)).unwrap();
        let (mut positions, id) = (Positions::restore(writer, saved), Arc::from("a"));
        for ended in [true, false] {
            positions.sealed(&id, "web", &Default::default(), &Account::default(), ended);
        }
        drop(positions);
        assert!(!StateDir::open(directory.path(), &ledger).unwrap().1[0].ended, "it was started again");
    }
}
