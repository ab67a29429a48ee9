//! Load the programs, attach them, and hand out what is shared with them.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use aya::maps::{Array, HashMap, Map, MapData, RingBuf, Stack};
use aya::programs::{BtfTracePoint, Program, ProgramError, TracePoint};
use aya::{Btf, Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use capture_common::{Config, RELAY_ALWAYS, RELAY_NEVER, RELAY_WHEN_NEEDED};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cgroups::Cgroups;
use super::error::chain;
use super::shared::{ConfigGlobal, SlotTable};
use super::{KernelError, offsets, preflight};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("CAPTURE_EBPF_OBJECT"));

/// Cgroups for each container on average, for children that a container makes.
const CGROUPS_PER_CONTAINER: u32 = 4;
/// Cgroups that are known at least: those that an engine left behind are as well.
const MIN_CGROUPS: u32 = 4096;

/// Which hooks see the writes. See `docs/decisions/0002-attach-mode.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
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

/// The loaded and attached programs. Dropping it detaches them.
pub struct Kernel {
    // Holds the programs and their links.
    pub(super) ebpf: Ebpf,
    pub(super) table: Arc<SlotTable>,
    pub(super) cgroups: Cgroups,
    pub(super) free: Stack<MapData, u32>,
    pub(super) relays: HashMap<MapData, u32, u32>,
    pub(super) relayed: HashMap<MapData, u64, u32>,
    /// What is added to the kernel side's own count of streams that are captured at the relay, and where.
    pub(super) relay_streams: u64,
    pub(super) relay_streams_map: Array<MapData, u64>,
    pub(super) side: CaptureSide,
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
            .map_max_entries("SWITCHES", self.capacity.saturating_mul(2))
            .map_max_entries("FREE_SLOTS", self.capacity)
            .map_max_entries("CGROUPS", self.capacity.saturating_mul(CGROUPS_PER_CONTAINER).max(MIN_CGROUPS))
            .map_max_entries("SCRATCH", cpus)
            .load(OBJECT)
            .map_err(|error| KernelError::Maps { cause: chain(&error) })?;

        let table = {
            let slots = map_fd(&ebpf, "SLOTS")?;
            let (hints, globals) = (map_fd(&ebpf, "HINTS")?, map_fd(&ebpf, "GLOBALS")?);
            Arc::new(SlotTable::map(slots, self.capacity, hints, globals)?)
        };
        let mut free: Stack<MapData, u32> = take_map(&mut ebpf, "FREE_SLOTS")?;
        // The last one pushed is the first one used: slots in use stay at the start of the table.
        for index in (0..self.capacity).rev() {
            free.push(index, 0).map_err(|error| map_error("FREE_SLOTS", &error))?;
        }
        let mut kernel = Kernel {
            cgroups: Cgroups::new(take_map(&mut ebpf, "CGROUPS")?, Arc::clone(&table)),
            table,
            free,
            relays: take_map(&mut ebpf, "RELAYS")?,
            relayed: take_map(&mut ebpf, "RELAYED")?,
            relay_streams: 0,
            relay_streams_map: take_map(&mut ebpf, ".data.agent")?,
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

    /// Ends capture: no byte is counted as written from here on. The maps stay.
    pub fn detach(&mut self) {
        for (name, program) in self.ebpf.programs_mut() {
            let unloaded = match program {
                Program::BtfTracePoint(program) => program.unload(),
                Program::TracePoint(program) => program.unload(),
                _ => Ok(()),
            };
            // Those of the other attach mode were never loaded.
            if let Err(error) = unloaded
                && !matches!(error, ProgramError::NotLoaded)
            {
                tracing::warn!(program = name, %error, "a program is not detached before the agent's end");
            }
        }
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

pub(super) fn map_error(name: &'static str, error: &dyn std::error::Error) -> KernelError {
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
