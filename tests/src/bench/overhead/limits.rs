//! What cannot be undercut: programs that return at once, one that only asks which task a write is of, and one that does nothing but copy.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use aya::maps::RingBuf;
use aya::programs::{BtfTracePoint, TracePoint};
use aya::{Btf, Ebpf};

use super::figures::Setting;
use crate::workspace;

/// How often the ring buffer is emptied.
const PERIOD: Duration = Duration::from_millis(1);
/// Bytes that the reader takes out of it before they are thrown away: out they have to be, because others' records follow.
const TAKEN: usize = 256 << 10;

/// Attached while it lives.
pub(in crate::bench) struct Limit {
    _programs: Ebpf,
    ended: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Limit {
    /// Attaches the program that copies what is written to fd 1.
    ///
    /// # Errors
    /// When the object is not built, or the kernel refuses it.
    pub(in crate::bench) fn copy() -> Result<Self> {
        Self::attach(Setting::CopyOnly)?.context("no program copies")
    }

    /// Attaches programs that return at once to the hooks of attach mode `raw`.
    ///
    /// # Errors
    /// When the object is not built, or the kernel refuses it.
    pub(in crate::bench) fn hooks() -> Result<Self> {
        Self::attach(Setting::EmptyRaw)?.context("no program is empty")
    }

    /// Attaches what the setting stands for; nothing where it is none of these.
    ///
    /// # Errors
    /// When the object is not built, or the kernel refuses it.
    pub(super) fn attach(setting: Setting) -> Result<Option<Self>> {
        let hooks: &[(&str, &str)] = match setting {
            Setting::EmptyRaw => &[("empty_exit", "sys_exit"), ("empty_enter", "sys_enter")],
            Setting::EmptyExit => &[("empty_exit", "sys_exit")],
            Setting::WhoseRaw => &[("whose_exit", "sys_exit"), ("empty_enter", "sys_enter")],
            Setting::CopyOnly => &[("copy_exit", "sys_exit")],
            Setting::CopyRaw => &[("copy_exit", "sys_exit"), ("empty_enter", "sys_enter")],
            Setting::EmptySyscalls => &[],
            Setting::Nothing | Setting::Raw | Setting::Syscalls => return Ok(None),
        };
        let object = workspace::target_dir().join("bpf/limits");
        let mut ebpf = Ebpf::load_file(&object).context("bpf/limits (`cargo xtask bench` builds it)")?;
        let btf = Btf::from_sys_fs()?;
        for (name, hook) in hooks {
            let program: &mut BtfTracePoint = ebpf.program_mut(name).context(*name)?.try_into()?;
            program.load(hook, &btf)?;
            program.attach()?;
        }
        if setting == Setting::EmptySyscalls {
            let program: &mut TracePoint =
                ebpf.program_mut("empty_tracepoint").context("empty_tracepoint")?.try_into()?;
            program.load()?;
            for call in ["sys_exit_write", "sys_exit_writev", "sys_exit_pwritev2"] {
                program.attach("syscalls", call)?;
            }
        }
        let mut records = RingBuf::try_from(ebpf.take_map("LIMIT_RECORDS").context("LIMIT_RECORDS")?)?;
        let ended = Arc::new(AtomicBool::new(false));
        let reader = thread::spawn({
            let ended = Arc::clone(&ended);
            let mut taken = Vec::with_capacity(TAKEN);
            move || {
                while !ended.load(Relaxed) {
                    while let Some(record) = records.next() {
                        if taken.len() + record.len() > TAKEN {
                            taken.clear();
                        }
                        taken.extend_from_slice(&record);
                        std::hint::black_box(&taken);
                    }
                    thread::sleep(PERIOD);
                }
            }
        });
        Ok(Some(Self { _programs: ebpf, ended, reader: Some(reader) }))
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        self.ended.store(true, Relaxed);
        let _ = self.reader.take().map(JoinHandle::join);
    }
}
