//! BPF programs as the kernel lists them: those that are measured, and those of others that would be measured with them.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::programs::loaded_programs;

use crate::poll::eventually;

/// How long to wait for the end of somebody else's tracing.
const PATIENCE: Duration = Duration::from_mins(15);
/// `BPF_PROG_TYPE_KPROBE`, `…_TRACEPOINT`, `…_PERF_EVENT`, `…_RAW_TRACEPOINT`, `…_RAW_TRACEPOINT_WRITABLE`, `…_TRACING`
/// (`include/uapi/linux/bpf.h`): what may run on a system call.
const TRACING: [u32; 6] = [2, 5, 7, 17, 24, 26];

/// What `bpf_prog_info` tells of a program.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// Its name, at most 15 bytes of it.
    pub name: String,
    /// Instructions that the verifier went through, over all paths.
    pub verified: u32,
    /// Size in bytes after the verifier.
    pub translated: u32,
    /// Size of the machine code in bytes.
    pub jited: u32,
    /// Runs, while statistics were on.
    pub runs: u64,
    /// Time of all runs, while statistics were on.
    pub time: Duration,
}

/// Ids of the programs that a process holds.
fn ids_of(process: u32) -> Result<BTreeSet<u32>> {
    let infos = fs::read_dir(format!("/proc/{process}/fdinfo")).context("the descriptors of the agent")?;
    let ids = infos.flatten().filter_map(|info| {
        let text = fs::read_to_string(info.path()).ok()?;
        // A link names its program too.
        text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
    });
    Ok(ids.collect())
}

/// The programs that a process holds.
///
/// # Errors
/// When the kernel does not list them.
pub fn of(process: u32) -> Result<Vec<Program>> {
    let ids = ids_of(process)?;
    let mut programs = Vec::new();
    for info in loaded_programs() {
        // One that is unloaded meanwhile is none of ours.
        let Ok(info) = info else { continue };
        if ids.contains(&info.id()) {
            programs.push(Program {
                name: info.name_as_str().unwrap_or("?").to_owned(),
                verified: info.verified_instruction_count().unwrap_or(0),
                translated: info.size_translated().unwrap_or(0),
                jited: info.size_jitted(),
                runs: info.run_count(),
                time: info.run_time(),
            });
        }
    }
    programs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(programs)
}

/// Ids of tracing programs that are not `own`'s (nor of this process): every one would be paid for as if it were ours.
///
/// # Errors
/// When the kernel does not list them.
pub fn foreign(own: Option<u32>) -> Result<BTreeSet<u32>> {
    let mut known = ids_of(std::process::id())?;
    if let Some(own) = own {
        known.extend(ids_of(own)?);
    }
    let all = loaded_programs().flatten().filter(|info| TRACING.contains(&(info.program_type() as u32)));
    Ok(all.map(|info| info.id()).filter(|id| !known.contains(id)).collect())
}

/// Waits until nobody else traces.
///
/// # Errors
/// When somebody still does after a quarter of an hour.
pub fn wait_for_quiet() -> Result<()> {
    let mut told = false;
    eventually("the end of other tracing programs (`bpftool prog` lists them)", PATIENCE, || {
        let others = foreign(None).ok()?;
        if !others.is_empty() && !told {
            told = true;
            eprintln!("bench: {} BPF programs of others are attached; waiting for their end", others.len());
        }
        others.is_empty().then_some(())
    })
}
