//! Cgroups and namespaces: whether the host's containers can be seen from here.

use std::fs;
use std::path::PathBuf;

use super::{Check, Host};
use crate::containers::cgroups::Hierarchy;
use crate::kernel::KernelError;

/// Inode numbers of the first namespaces (`PROC_*_INIT_INO` in `include/linux/proc_ns.h`).
const HOST_CGROUPS: &str = "cgroup:[4026531835]";
const HOST_PROCESSES: &str = "pid:[4026531836]";

pub(super) fn layout(host: &Host, hierarchy: &Result<Hierarchy, KernelError>) -> Check {
    const ID: &str = "cgroups";
    let mounts = host.read("proc/self/mountinfo").unwrap_or_default();
    let has_v1 = !v1_controllers(&mounts).is_empty();
    match hierarchy {
        Ok(hierarchy) => {
            let layout = if has_v1 { "hybrid (v1 and v2)" } else { "v2" };
            let containers = Hierarchy::at(host.path(hierarchy.root())).containers().len();
            let root = hierarchy.root().display();
            Check::ok(
                ID,
                format!("{layout}; the v2 hierarchy on {root} is used, where {containers} containers have a cgroup"),
            )
        }
        Err(error) => {
            let check = Check::refused(ID, error);
            let layout = if has_v1 { "v1 only" } else { "none is mounted" };
            Check { found: format!("{layout}: {}", check.found), ..check }
        }
    }
}

/// Controllers that have a v1 hierarchy, with where it is mounted.
pub(super) fn v1_controllers(mounts: &str) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for line in mounts.lines() {
        let Some((fields, rest)) = line.split_once(" - cgroup ") else { continue };
        let (Some(path), Some(options)) = (fields.split(' ').nth(4), rest.split(' ').nth(1)) else { continue };
        found.extend(options.split(',').map(|option| (option.to_owned(), PathBuf::from(path))));
    }
    found
}

/// Whether this runs in the host's namespaces.
pub(super) fn namespaces(host: &Host) -> Check {
    const ID: &str = "namespaces";
    let own = |name: &str| {
        fs::read_link(host.path(format!("proc/self/ns/{name}"))).map(|link| link.to_string_lossy().into_owned()).ok()
    };
    let mut missing = Vec::new();
    let mut options = Vec::new();
    if own("pid").is_some_and(|namespace| namespace != HOST_PROCESSES) {
        missing.push("other processes than the host's: containers that run already are not found");
        options.push("--pid host");
    }
    if own("cgroup").is_some_and(|namespace| namespace != HOST_CGROUPS) {
        missing.push("other cgroups than the host's: containers that run already are not found");
        options.push("--cgroupns host");
    }
    if missing.is_empty() {
        return Check::ok(ID, "processes and cgroups are the host's");
    }
    Check::warning(ID, missing.join("; "), format!("run the container with {}", options.join(" ")))
}
