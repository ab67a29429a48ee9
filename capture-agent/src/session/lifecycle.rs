//! Sessions from the first sight of a slot to its end. The kernel half is `capture-ebpf/src/lifecycle.rs`.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use capture_common::{ContainerSlot, RecordHeader, SlotState};

use super::naming::close_complete;
use super::pace::Pace;
use super::reader::{Reader, ReaderConfig};
use super::rotation::{Rotation, Sealed};
use super::stream::kernel_totals;
use super::totals::SessionError;
use super::{Session, is_awaited};
use crate::kernel;

/// Slots looked at beyond the highest one that was seen in use.
const SLOTS_AHEAD: u32 = 64;
/// How long a slot whose container is gone may wait for bytes that an empty ring buffer does not hold.
const MISSING_DEADLINE: Duration = Duration::from_secs(10);

impl Reader {
    /// The session of a record; opened if this is the first sight of it.
    pub(super) fn session(&mut self, header: &RecordHeader, now: Instant) -> Option<&mut Session> {
        let slot = self.table.get(header.slot)?;
        if slot.generation.load(Relaxed) as u32 != header.generation {
            return None;
        }
        open(&mut self.sessions, &mut self.highest_slot, &mut self.pace, &self.config, slot, header.slot, now)
    }

    /// The cgroup of a slot is gone. Its last record precedes the mark of the end, so the session is complete.
    pub(super) fn end(&mut self, index: u32, generation: u32) {
        let table = Arc::clone(&self.table);
        let Some(slot) = table.get(index) else { return };
        if slot.generation.load(Relaxed) as u32 != generation || slot.state.load(Relaxed) != SlotState::Ended as u64 {
            return;
        }
        let now = Instant::now();
        let session = self.sessions.get(index as usize).and_then(Option::as_ref);
        if session.is_some_and(|session| !session.is_drained(slot)) {
            // The next scan of the slots sees whether it is by then.
            return;
        }
        let session = self.sessions.get_mut(index as usize).and_then(Option::take);
        if let Some(mut session) = session {
            let ReaderConfig { directory, ledger, .. } = &self.config;
            session.finish(slot, ledger, self.clock, now, &mut self.batch);
            session.attach_metadata(directory, ledger, now, false, &mut self.batch);
            let sealed = session.seal_at_end(slot, now);
            self.account(&session, &sealed, true);
            self.config.ledger.close(session.id(), index, kernel_totals(slot), now);
            tracing::debug!(container_id = %session.id(), "session closed");
            self.closing.push(session);
            close_complete(&mut self.closing, &mut self.ended);
        }
        if let Err(error) = self.config.kernel.lock().unwrap_or_else(PoisonError::into_inner).release(index) {
            tracing::error!(%error, "slot not released");
        }
        self.config.admission.notify_one();
    }

    /// Opens and ends sessions whose mark found no room in the ring buffer.
    pub(super) fn scan_slots(&mut self, drained: bool, now: Instant) {
        let end = self.table.capacity().min(self.highest_slot.saturating_add(SLOTS_AHEAD));
        let table = Arc::clone(&self.table);
        self.pace.has_ended_slots = false;
        for index in 0..end {
            let Some(slot) = table.get(index) else { break };
            match SlotState::from_u64(slot.state.load(Relaxed)) {
                Some(SlotState::Open) => {
                    open(&mut self.sessions, &mut self.highest_slot, &mut self.pace, &self.config, slot, index, now);
                }
                Some(SlotState::Ended) => {
                    self.pace.has_ended_slots = true;
                    self.scan_ended(slot, index, drained, now);
                }
                _ => {}
            }
        }
    }

    fn scan_ended(&mut self, slot: &ContainerSlot, index: u32, drained: bool, now: Instant) {
        let is_drained = match self.sessions.get_mut(index as usize).and_then(Option::as_mut) {
            Some(session) => {
                let is_drained = session.is_drained(slot);
                if !is_drained && drained && !is_awaited(slot) && session.ended_for(now) > MISSING_DEADLINE {
                    session.give_up_missing(slot);
                }
                is_drained
            }
            None => !self.config.wants(slot) || slot.streams.iter().all(|stream| stream.submitted.load(Relaxed) == 0),
        };
        if is_drained {
            self.end(index, slot.generation.load(Relaxed) as u32);
        } else {
            open(&mut self.sessions, &mut self.highest_slot, &mut self.pace, &self.config, slot, index, now);
        }
    }

    /// Seals the sessions whose interval is over.
    pub(super) fn rotate(&mut self, drained: bool, now: Instant) {
        let table = Arc::clone(&self.table);
        for index in 0..self.sessions.len() {
            let Some(slot) = table.get(index as u32) else { break };
            let Some(session) = self.sessions[index].as_mut() else { continue };
            let Some(sealed) = session.rotate(slot, drained, now) else { continue };
            // What the engine has said since: a new name is in the records of the next session at the latest.
            let ReaderConfig { directory, ledger, .. } = &self.config;
            session.attach_metadata(directory, ledger, now, false, &mut self.batch);
            if let Some(session) = self.sessions[index].take() {
                if sealed.reconciled {
                    self.config.ledger.rotated(session.id());
                }
                self.account(&session, &sealed, false);
                self.sessions[index] = Some(session);
            }
        }
    }

    /// Seals every session because the agent ends. The programs are detached and the sinks have finished.
    pub(super) fn seal_all(&mut self, now: Instant) {
        let table = Arc::clone(&self.table);
        for (index, session) in std::mem::take(&mut self.sessions).into_iter().enumerate() {
            if let (Some(mut session), Some(slot)) = (session, table.get(index as u32)) {
                let sealed = session.seal_at_end(slot, now);
                self.account(&session, &sealed, false);
            }
        }
        self.positions.save_rest();
    }

    /// Books a session that is over.
    fn account(&mut self, session: &Session, sealed: &Sealed, ended: bool) {
        let ledger = &self.config.ledger;
        ledger.ages.observe(sealed.age);
        if !sealed.reconciled {
            ledger.failed(session.id(), SessionError::Reconcile);
            let [stdout, stderr] = &sealed.kernel;
            tracing::error!(
                container_id = %session.id(), ?stdout, ?stderr,
                "a session does not reconcile: what the kernel side counted is not what arrived; please report this",
            );
        }
        let name = session.origin.metadata.as_ref().map_or("", |metadata| &metadata.name);
        self.positions.sealed(session.id(), name, &sealed.kernel, &session.origin.account, ended);
    }
}

/// The session of a slot in use, opened if there is none yet.
fn open<'a>(
    sessions: &'a mut Vec<Option<Session>>,
    highest_slot: &mut u32,
    pace: &mut Pace,
    config: &ReaderConfig,
    slot: &ContainerSlot,
    index: u32,
    now: Instant,
) -> Option<&'a mut Session> {
    *highest_slot = (*highest_slot).max(index);
    let index = index as usize;
    if sessions.len() <= index {
        sessions.resize_with(index + 1, || None);
    }
    let generation = slot.generation.load(Relaxed) as u32;
    let entry = sessions.get_mut(index)?;
    if entry.as_ref().is_none_or(|session| session.generation != generation) {
        if !config.wants(slot) {
            return None;
        }
        let id = Arc::from(kernel::container_id(slot));
        let account = config.ledger.open(&id, index as u32);
        let mut session =
            Session::open(slot, id, account, config.max_line, Rotation::new(config.rotation_interval, now), now);
        tracing::debug!(container_id = %session.id(), "session opened");
        // Asks at once, so that the answer is there when the first line is.
        session.begin_with_name(&config.directory, &config.ledger);
        pace.awaits_names |= session.is_waiting_for_name();
        *entry = Some(session);
    }
    entry.as_mut()
}
