//! The slot table as the agent changes it: containers that the kernel side did not see being made, and ends.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use capture_common::{CONTAINER_ID_LEN, OutputStream, SLOT_AT_EXEC, SWITCHED, Side, SlotState};

use super::KernelError;
use super::load::{CaptureSide, Kernel, map_error};
use super::shared::set_container_id;

/// The inodes of a container's output, for a container that runs already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    /// Process id of the container's init.
    pub init_pid: u32,
    /// Process id of its parent.
    pub relay_pid: u32,
    /// Inode number and device (in the kernel's encoding) of stdout and stderr; `None` where there is none of its own.
    pub inodes: [Option<(u64, u32)>; 2],
}

/// What became of [`Kernel::register`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// It has this slot.
    Taken(u32),
    /// The kernel side has registered it meanwhile.
    Known,
    /// Every slot is taken.
    Full,
}

impl Kernel {
    /// Whether a cgroup has a slot.
    #[must_use]
    pub fn knows(&self, cgroup_id: u64) -> bool {
        self.cgroups.get(cgroup_id).is_some_and(|slot| slot != SLOT_AT_EXEC)
    }

    /// Has the kernel side give a slot to the container of an empty cgroup when a program is executed there.
    pub fn expect(&mut self, cgroup_id: u64) {
        // Where the map is full, the container is found when the agent looks again.
        self.cgroups.add(cgroup_id, SLOT_AT_EXEC);
    }

    /// Takes [`expect`](Self::expect) back.
    pub fn expect_no_more(&mut self, cgroup_id: u64) {
        if self.cgroups.get(cgroup_id) == Some(SLOT_AT_EXEC) {
            self.cgroups.remove(cgroup_id);
        }
    }

    /// Registers the cgroup of a container that was there before the programs were. With `streams` its writes are
    /// captured from now on; without, its init is still to execute.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`].
    pub fn register(
        &mut self,
        cgroup_id: u64,
        id: &str,
        streams: Option<Streams>,
    ) -> Result<Registration, KernelError> {
        debug_assert_eq!(id.len(), CONTAINER_ID_LEN);
        let Ok(index) = self.free.pop(0) else { return Ok(Registration::Full) };
        let table = Arc::clone(&self.table);
        let Some(slot) = table.get(index) else { return Ok(Registration::Known) };
        slot.cgroup_id.store(cgroup_id, Relaxed);
        slot.generation.fetch_add(1, Relaxed);
        set_container_id(slot, id);
        slot.state.store(SlotState::Armed as u64, Relaxed);
        if let Some(streams) = streams {
            self.open(index, streams);
        }
        // The kernel side may have been first.
        if !self.cgroups.add(cgroup_id, index) {
            slot.state.store(SlotState::Free as u64, Relaxed);
            self.free.push(index, 0).map_err(|error| map_error("FREE_SLOTS", &error))?;
            return Ok(Registration::Known);
        }
        Ok(Registration::Taken(index))
    }

    /// Sets the streams of a slot whose container's init was seen to run.
    pub fn open(&mut self, index: u32, streams: Streams) {
        let table = Arc::clone(&self.table);
        let Some(slot) = table.get(index) else { return };
        slot.init_pid.store(u64::from(streams.init_pid), Relaxed);
        slot.relay_pid.store(u64::from(streams.relay_pid), Relaxed);
        for (stream, found) in slot.streams.iter().zip(streams.inodes) {
            let (inode, device) = found.unwrap_or_default();
            stream.device.store(u64::from(device), Relaxed);
            stream.inode.store(inode, Relaxed);
        }
        // Not fatal where it fails: such a stream is captured on the write side only.
        let _ = self.relays.insert(streams.relay_pid, index, 0);
        if self.side == CaptureSide::Relay {
            for (which, (stream, found)) in (0..).zip(slot.streams.iter().zip(streams.inodes)) {
                let Some((inode, _)) = found else { continue };
                if self.relayed.insert(inode, index * 2 + which, 0).is_ok() {
                    self.count_relayed(1);
                    stream.written.store(SWITCHED, Relaxed);
                    stream.side.store(Side::Relay as u64, Relaxed);
                }
            }
        }
        slot.state.store(SlotState::Open as u64, std::sync::atomic::Ordering::Release);
    }

    /// Adds to the streams that the kernel side looks for at the relay, modulo 2^64.
    fn count_relayed(&mut self, streams: u64) {
        self.relay_streams = self.relay_streams.wrapping_add(streams);
        // Not fatal where it fails: the index is there, and the value a number.
        let _ = self.relay_streams_map.set(0, self.relay_streams, 0);
    }

    /// [`open`](Self::open), unless the kernel side has seen the init execute.
    pub fn open_if_armed(&mut self, index: u32, streams: Streams) {
        if self.table.get(index).is_some_and(|slot| slot.state.load(Relaxed) == SlotState::Armed as u64) {
            self.open(index, streams);
        }
    }

    /// Registers a child cgroup of a registered container.
    pub fn register_child(&mut self, cgroup_id: u64, index: u32) {
        // Full or already there: the first is counted where the container itself is refused, the second is fine.
        self.cgroups.add(cgroup_id, index);
    }

    /// Gives a slot back. For one that has ended and whose counters have been settled.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`].
    pub fn release(&mut self, index: u32) -> Result<(), KernelError> {
        let table = Arc::clone(&self.table);
        let Some(slot) = table.get(index) else { return Ok(()) };
        for stream in &slot.streams {
            // The relay ended without reading to the end.
            if is_relayed(stream) {
                let terminal = stream.terminal.load(Relaxed);
                let key = if terminal == 0 { stream.inode.load(Relaxed) } else { terminal };
                let _ = self.relayed.remove(&key);
                self.count_relayed(u64::MAX);
            }
        }
        for field in [&slot.cgroup_id, &slot.init_pid, &slot.relay_pid, &slot.opened_at, &slot.ended_at] {
            field.store(0, Relaxed);
        }
        slot.ring_submitted.store(0, Relaxed);
        slot.ring_consumed.store(0, Relaxed);
        for stream in &slot.streams {
            let OutputStream {
                inode,
                device,
                written,
                submitted,
                lost,
                side,
                skip,
                mark,
                address,
                terminal,
                switchers,
                relayed,
                settled_at,
            } = stream;
            let captured = [written, submitted, relayed, settled_at];
            for field in [inode, device, side, skip, mark, address, terminal, switchers].into_iter().chain(captured) {
                field.store(0, Relaxed);
            }
            for lost in lost {
                lost.store(0, Relaxed);
            }
        }
        slot.state.store(SlotState::Free as u64, Relaxed);
        self.free.push(index, 0).map_err(|error| map_error("FREE_SLOTS", &error))
    }
}

/// Whether the kernel side takes a stream's bytes at the relay, and has not seen their end.
#[must_use]
pub fn is_relayed(stream: &OutputStream) -> bool {
    matches!(Side::from_u64(stream.side.load(Relaxed)), Some(Side::Switching | Side::RelayFirst | Side::Relay))
}
