//! Load the programs, attach them, and hand out what is shared with them.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use aya::maps::{HashMap, Map, MapData, RingBuf, Stack};
use aya::programs::{BtfTracePoint, Program, ProgramError, TracePoint};
use aya::{Btf, Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use capture_common::{
    CONTAINER_ID_LEN, Config, OutputStream, RELAY_ALWAYS, RELAY_NEVER, RELAY_WHEN_NEEDED, Side, SlotState,
};

use super::shared::{ConfigGlobal, SlotTable, set_container_id};
use super::{KernelError, offsets, preflight};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("CAPTURE_EBPF_OBJECT"));

/// Cgroups for each container on average, for children that a container makes.
const CGROUPS_PER_CONTAINER: u32 = 4;

/// Which hooks see the writes. See `docs/decisions/0002-attach-mode.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AttachMode {
    /// The mode that misses nothing: `raw`.
    #[default]
    Auto,
    /// The exit tracepoints of write, writev and pwritev2: cheapest for other system calls; misses 32-bit programs.
    Syscalls,
    /// One raw tracepoint on the exit of every system call: sees every caller.
    Raw,
}

/// On which side of the pipe output is captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum CaptureSide {
    /// Where containers write; streams that are written past `write` (`sendfile`, `splice`, `io_uring`) are switched.
    #[default]
    Write,
    /// Where the runtime's relay reads, from the start: the engine's own order, also among concurrent writers.
    Relay,
}

/// What the kernel side is to be like.
#[derive(Clone, Copy, Debug)]
pub struct KernelConfig {
    /// Which hooks see the writes.
    pub attach: AttachMode,
    /// On which side of the pipe; [`CaptureSide::Relay`] is not for [`AttachMode::Syscalls`].
    pub side: CaptureSide,
    /// Size of the ring buffer in bytes: a power of two, and a multiple of the page size.
    pub ring_size: u32,
    /// Containers that may be captured at once.
    pub capacity: u32,
}

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

/// The loaded and attached programs. Dropping it detaches them.
pub struct Kernel {
    // Holds the programs and their links.
    ebpf: Ebpf,
    table: Arc<SlotTable>,
    cgroups: HashMap<MapData, u64, u32>,
    free: Stack<MapData, u32>,
    relays: HashMap<MapData, u32, u32>,
    relayed: HashMap<MapData, u64, u32>,
    side: CaptureSide,
    records: Option<RingBuf<MapData>>,
    ring_size: u32,
}

impl KernelConfig {
    /// Checks the host, loads the programs and attaches them. Containers that start from now on are captured.
    ///
    /// # Errors
    ///
    /// What the host lacks, or what the kernel refused.
    pub fn build(self) -> Result<Kernel, KernelError> {
        preflight::check(self.attach)?;
        let config = Config {
            // Half: a container that floods the ring leaves as much for all the others, and one write of a quarter of
            // the ring is whole even while the one before it is still being read.
            ring_share: u64::from(self.ring_size) / 2,
            relay: match (self.attach, self.side) {
                (AttachMode::Syscalls, _) => RELAY_NEVER,
                (_, CaptureSide::Write) => RELAY_WHEN_NEEDED,
                (_, CaptureSide::Relay) => RELAY_ALWAYS,
            },
            offsets: offsets::resolve()?,
        };
        let cpus = aya::util::nr_cpus().ok().and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(1);
        let btf = Btf::from_sys_fs().map_err(|error| KernelError::BadBtf { cause: error.to_string() })?;
        let global = ConfigGlobal(config);
        let mut ebpf = EbpfLoader::new()
            .btf(Some(&btf))
            .override_global("CONFIG", &global, true)
            .map_max_entries("RECORDS", self.ring_size)
            .map_max_entries("SLOTS", self.capacity)
            .map_max_entries("FREE_SLOTS", self.capacity)
            .map_max_entries("CGROUPS", self.capacity.saturating_mul(CGROUPS_PER_CONTAINER))
            .map_max_entries("SCRATCH", cpus)
            .load(OBJECT)
            .map_err(|error| KernelError::Maps { cause: chain(&error) })?;

        let table = {
            let slots = map_fd(&ebpf, "SLOTS")?;
            let globals = map_fd(&ebpf, "GLOBALS")?;
            Arc::new(SlotTable::map(slots, self.capacity, globals)?)
        };
        let mut free: Stack<MapData, u32> = take_map(&mut ebpf, "FREE_SLOTS")?;
        // The last one pushed is the first one used: slots in use stay at the start of the table.
        for index in (0..self.capacity).rev() {
            free.push(index, 0).map_err(|error| map_error("FREE_SLOTS", &error))?;
        }
        let mut kernel = Kernel {
            table,
            cgroups: take_map(&mut ebpf, "CGROUPS")?,
            free,
            relays: take_map(&mut ebpf, "RELAYS")?,
            relayed: take_map(&mut ebpf, "RELAYED")?,
            side: self.side,
            records: Some(take_map(&mut ebpf, "RECORDS")?),
            ring_size: self.ring_size,
            ebpf,
        };
        kernel.attach(self.attach, &btf)?;
        Ok(kernel)
    }
}

impl Kernel {
    /// The slot table.
    #[must_use]
    pub fn table(&self) -> Arc<SlotTable> {
        Arc::clone(&self.table)
    }

    /// What the eBPF programs log.
    ///
    /// # Errors
    ///
    /// Where the buffer of their messages cannot be read.
    pub fn logger(&mut self) -> Result<EbpfLogger<&'static dyn log::Log>, aya_log::Error> {
        EbpfLogger::init(&mut self.ebpf)
    }

    /// The ring buffer. There is one reader: the second call gives nothing.
    pub fn take_records(&mut self) -> Option<RingBuf<MapData>> {
        self.records.take()
    }

    /// Size of the ring buffer in bytes.
    #[must_use]
    pub fn ring_size(&self) -> u32 {
        self.ring_size
    }

    /// Whether the kernel side knows a cgroup.
    #[must_use]
    pub fn knows(&self, cgroup_id: u64) -> bool {
        self.cgroups.get(&cgroup_id, 0).is_ok()
    }

    /// Registers the cgroup of a container that was there before the programs were. With `streams` its writes are
    /// captured from now on; without, its init is still to execute.
    ///
    /// Gives the slot, or `None` if every slot is taken or the kernel side has registered it meanwhile.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`].
    pub fn register(&mut self, cgroup_id: u64, id: &str, streams: Option<Streams>) -> Result<Option<u32>, KernelError> {
        debug_assert_eq!(id.len(), CONTAINER_ID_LEN);
        let Ok(index) = self.free.pop(0) else {
            self.table.globals().refused.fetch_add(1, Relaxed);
            return Ok(None);
        };
        let table = Arc::clone(&self.table);
        let Some(slot) = table.get(index) else { return Ok(None) };
        slot.cgroup_id.store(cgroup_id, Relaxed);
        slot.generation.fetch_add(1, Relaxed);
        set_container_id(slot, id);
        slot.state.store(SlotState::Armed as u64, Relaxed);
        if let Some(streams) = streams {
            self.open(index, streams);
        }
        // `BPF_NOEXIST`: the kernel side may have been first.
        if self.cgroups.insert(cgroup_id, index, 1).is_err() {
            slot.state.store(SlotState::Free as u64, Relaxed);
            self.free.push(index, 0).map_err(|error| map_error("FREE_SLOTS", &error))?;
            return Ok(None);
        }
        Ok(Some(index))
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
                    self.table.globals().relay_streams.fetch_add(1, Relaxed);
                    stream.side.store(Side::Relay as u64, Relaxed);
                }
            }
        }
        slot.state.store(SlotState::Open as u64, std::sync::atomic::Ordering::Release);
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
        let _ = self.cgroups.insert(cgroup_id, index, 1);
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
                table.globals().relay_streams.fetch_sub(1, Relaxed);
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
                records,
                side,
                skip,
                mark,
                address,
                terminal,
                switchers,
                ..
            } = stream;
            for field in [inode, device, written, submitted, records, side, skip, mark, address, terminal, switchers] {
                field.store(0, Relaxed);
            }
            for lost in &stream.lost {
                lost.store(0, Relaxed);
            }
        }
        slot.state.store(SlotState::Free as u64, Relaxed);
        self.free.push(index, 0).map_err(|error| map_error("FREE_SLOTS", &error))
    }

    /// Runs of the programs that the kernel skipped, over all of them (`recursion_misses` of `struct bpf_prog_info`).
    #[must_use]
    pub fn missed_runs(&self) -> u64 {
        self.ebpf
            .programs()
            .filter_map(|(_, program)| program.fd().ok())
            .filter_map(|fd| fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd())).ok())
            .filter_map(|info| {
                info.lines().find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse::<u64>().ok())
            })
            .sum()
    }

    fn attach(&mut self, mode: AttachMode, btf: &Btf) -> Result<(), KernelError> {
        // The lifecycle first: what is registered before its first write is seen is captured from its first byte.
        for (program, hook) in [
            ("cgroup_mkdir", "cgroup_mkdir"),
            ("cgroup_rmdir", "cgroup_rmdir"),
            ("sched_process_exec", "sched_process_exec"),
        ] {
            self.attach_btf(program, hook, btf)?;
        }
        match mode {
            AttachMode::Auto | AttachMode::Raw => {
                self.attach_btf("raw_sys_exit", "sys_exit", btf)?;
                self.attach_btf("raw_sys_enter", "sys_enter", btf)
            }
            AttachMode::Syscalls => ["sys_exit_write", "sys_exit_writev", "sys_exit_pwritev2"]
                .into_iter()
                .try_for_each(|program| self.attach_tracepoint(program)),
        }
    }

    fn attach_btf(&mut self, name: &'static str, hook: &str, btf: &Btf) -> Result<(), KernelError> {
        let program: &mut BtfTracePoint = program(&mut self.ebpf, name)?;
        program.load(hook, btf).map_err(|error| refused(name, &error))?;
        program.attach().map_err(|error| KernelError::Attach { program: name, cause: chain(&error) })?;
        Ok(())
    }

    fn attach_tracepoint(&mut self, name: &'static str) -> Result<(), KernelError> {
        let program: &mut TracePoint = program(&mut self.ebpf, name)?;
        program.load().map_err(|error| refused(name, &error))?;
        program
            .attach("syscalls", name)
            .map_err(|error| KernelError::Attach { program: name, cause: chain(&error) })?;
        Ok(())
    }
}

/// Whether the kernel side takes a stream's bytes at the relay, and has not seen their end.
#[must_use]
pub fn is_relayed(stream: &OutputStream) -> bool {
    matches!(Side::from_u64(stream.side.load(Relaxed)), Some(Side::RelayFirst | Side::Relay))
}

fn program<'a, T>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut T, KernelError>
where
    &'a mut T: TryFrom<&'a mut Program>,
{
    ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or(KernelError::Object { name })
}

fn take_map<T: TryFrom<Map>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, KernelError> {
    ebpf.take_map(name).and_then(|map| map.try_into().ok()).ok_or(KernelError::Object { name })
}

fn map_fd(ebpf: &Ebpf, name: &'static str) -> Result<i32, KernelError> {
    match ebpf.map(name) {
        Some(Map::Array(data)) => Ok(data.fd().as_fd().as_raw_fd()),
        _ => Err(KernelError::Object { name }),
    }
}

fn map_error(name: &'static str, error: &dyn std::error::Error) -> KernelError {
    KernelError::Map { name, cause: chain(error) }
}

/// One sentence of a refused load; the verifier's pages go to the debug log.
fn refused(program: &'static str, error: &ProgramError) -> KernelError {
    let cause = match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            tracing::debug!(program, %verifier_log, "program refused");
            io_error.to_string()
        }
        other => chain(other),
    };
    KernelError::Load { program, cause }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.replace('\n', " ")
}
