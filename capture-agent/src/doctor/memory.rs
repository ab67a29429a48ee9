//! Memory: what the agent needs, and what it may have.

use std::path::Path;

use capture_common::ContainerSlot;

use super::{Check, Host, hierarchy};
use crate::config::CaptureSection;
use crate::config::units::Size;

/// What the agent takes beside its maps: its own memory and what waits for sinks, at rest.
const BASE: u64 = 64 << 20;
/// In cgroup v1, no limit is the largest number of pages (`PAGE_COUNTER_MAX` in `include/linux/page_counter.h`).
const NO_LIMIT: u64 = 1 << 62;

/// A limit, and what sets it.
struct Limit {
    bytes: u64,
    by: String,
}

/// Maps are charged to the cgroup of the process that makes them (since 5.11): `memlock` does not matter.
pub(super) fn memory(host: &Host, capture: &CaptureSection) -> Check {
    const ID: &str = "memory";
    let maps = u64::from(capture.ring_size.0) + u64::from(capture.sessions_max) * size_of::<ContainerSlot>() as u64;
    let needed = maps + BASE;
    let free = available(host).map(|bytes| Limit { bytes, by: "memory that is free".to_owned() });
    let limit = limit(host);
    let told = format!(
        "{} for the ring buffer and {} containers, about {} in all",
        mib(maps),
        capture.sessions_max,
        mib(needed)
    );
    let tightest = [limit, free].into_iter().flatten().min_by_key(|limit| limit.bytes);
    let Some(Limit { bytes, by }) = tightest else {
        return Check::warning(
            ID,
            format!("{told}; limits and free memory are not told"),
            "mount /proc and the cgroups",
        );
    };
    let found = format!("{told}; {by}: {}", mib(bytes));
    let advice = "raise the limit, or choose a smaller --ring-size or --sessions-max";
    if bytes < maps {
        Check::failed(ID, found, advice)
    } else if bytes < needed {
        Check::warning(ID, found, advice)
    } else {
        Check::ok(ID, found)
    }
}

fn mib(bytes: u64) -> Size {
    Size(bytes >> 20 << 20)
}

/// `MemAvailable` of `proc_meminfo(5)`.
fn available(host: &Host) -> Option<u64> {
    let text = host.read("proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

/// The lowest limit of this process's cgroup and those above it.
fn limit(host: &Host) -> Option<Limit> {
    let mounts = host.read("proc/self/mountinfo").ok()?;
    let own = host.read("proc/self/cgroup").ok()?;
    let path_of = |controller: &str| {
        own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (names, path) = (fields.next()?, fields.next()?);
            names.split(',').any(|name| name == controller).then(|| path.trim_start_matches('/').to_owned())
        })
    };
    let v1 = hierarchy::v1_controllers(&mounts).into_iter().find(|(controller, _)| controller == "memory");
    let limits = if let Some((_, mount)) = v1 {
        let path = mount.join(path_of("memory")?);
        vec![(path.clone(), hierarchical_limit(host, &path)?)]
    } else {
        let mount = crate::containers::cgroups::Hierarchy::find_in(&mounts).ok()?;
        let path = mount.root().join(path_of("")?);
        let above = path.ancestors().take_while(|path| path.starts_with(mount.root()));
        let limit =
            |path: &Path| Some((path.to_owned(), host.read(path.join("memory.max")).ok()?.parse::<u64>().ok()?));
        above.filter_map(limit).collect()
    };
    let (path, bytes) = limits.into_iter().filter(|(_, bytes)| *bytes < NO_LIMIT).min_by_key(|(_, bytes)| *bytes)?;
    Some(Limit { bytes, by: format!("limit of the cgroup {}", path.display()) })
}

/// What `memory.stat` of cgroup v1 says of the cgroup and those above it.
fn hierarchical_limit(host: &Host, path: &Path) -> Option<u64> {
    let stat = host.read(path.join("memory.stat")).ok()?;
    stat.lines().find_map(|line| line.strip_prefix("hierarchical_memory_limit "))?.parse().ok()
}
