//! Containers that run: where their output goes, and what of it an agent that starts now would miss, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use super::{Check, Host};
use crate::config::Config;
use crate::containers::cgroups::{ContainerCgroup, Hierarchy, Init};
use crate::containers::docker::{RunningContainer, Survey};
use crate::kernel::{AttachMode, CAPABILITIES, Held, Streams};
use crate::pipeline::record::Origin;
use crate::pipeline::select::{Selection, own_container};

const ID: &str = "container";
const CAPTURED: &str = "its output is captured from the agent's start on";

/// One check for each container that the engine says runs, and one for those that it does not know.
pub(super) fn containers(
    host: &Host,
    config: &Config,
    hierarchy: Option<&Hierarchy>,
    survey: Option<&Survey>,
) -> Vec<Check> {
    // Of another host there is no telling what a process holds open.
    if !host.is_this() {
        return Vec::new();
    }
    let cgroups = hierarchy.map(Hierarchy::containers).unwrap_or_default();
    let by_id: BTreeMap<_, _> = cgroups.iter().map(|cgroup| (cgroup.container_id.as_str(), cgroup)).collect();
    let known = survey.map(|survey| survey.containers.as_slice()).unwrap_or_default();
    let look = Look {
        attach: config.capture.attach,
        selection: config.select.build().ok(),
        own: own_container(),
        may_see_descriptors: host.privileges().is_none_or(|privileges| {
            CAPABILITIES.iter().all(|c| c.name != "CAP_SYS_PTRACE" || privileges.holds(*c) != Held::No)
        }),
    };
    let mut checks: Vec<_> =
        known.iter().map(|container| look.at(container, by_id.get(container.metadata.id.as_str()).copied())).collect();
    checks.extend(strangers(&cgroups, known));
    checks
}

struct Look {
    attach: AttachMode,
    selection: Option<Selection>,
    /// Id of the container that this process runs in.
    own: Option<String>,
    may_see_descriptors: bool,
}

impl Look {
    fn at(&self, container: &RunningContainer, cgroup: Option<&ContainerCgroup>) -> Check {
        let check = self.missed(container, cgroup);
        let found = format!("{}; {}", logged(container), check.found);
        Check { found, ..check }.titled(format!("  {}", container.metadata.name))
    }

    fn missed(&self, container: &RunningContainer, cgroup: Option<&ContainerCgroup>) -> Check {
        let id = container.metadata.id.as_str();
        if self.own.as_deref() == Some(id) {
            return Check::ok(ID, "the agent's own: it is not captured");
        }
        if self.is_deselected(container) {
            return Check::ok(ID, "the configuration (select) or its labels leave it out");
        }
        let Some(cgroup) = cgroup else {
            return Check::warning(
                ID,
                "nothing is captured: it has no cgroup in the v2 hierarchy that is seen from here",
                "see cgroups and namespaces above; a newer runtime puts it there also on a hybrid host",
            );
        };
        match cgroup.init() {
            Init::Running(streams) => self.streams(container, &streams),
            Init::Nobody => Check::ok(ID, "it has just ended"),
            Init::Awaited if !self.may_see_descriptors => Check::warning(
                ID,
                "what it writes to cannot be seen without CAP_SYS_PTRACE",
                "run it as the agent is to run",
            ),
            Init::Awaited => Check::warning(
                ID,
                "nothing is captured: its first process has redirected its output by now, so that its pipes cannot be told",
                "restart the container while the agent runs",
            ),
        }
    }

    fn is_deselected(&self, container: &RunningContainer) -> bool {
        let metadata = Arc::new(container.metadata.clone());
        let origin = Origin::new(container.metadata.id.as_str().into(), Some(metadata), Arc::default());
        self.selection.as_ref().is_some_and(|selection| !selection.takes_container(&origin))
    }

    fn streams(&self, container: &RunningContainer, streams: &Streams) -> Check {
        let is_syscalls = self.attach == AttachMode::Syscalls;
        if is_syscalls && is_32_bit(streams.init_pid) {
            return Check::warning(
                ID,
                "nothing is captured of its first program: it is a 32-bit one, which --attach syscalls does not see",
                "use --attach raw or auto",
            );
        }
        let redirected = streams.inodes.iter().position(Option::is_none);
        if let Some(redirected) = redirected.filter(|_| !is_one_output(streams.init_pid)) {
            let name = ["stdout", "stderr"][redirected];
            return Check::warning(
                ID,
                format!("of {name} nothing is captured: its first process has redirected it by now"),
                "if others of its processes write there, restart the container while the agent runs",
            );
        }
        let mut found = CAPTURED.to_owned();
        if is_syscalls {
            found += ", without what goes past write (sendfile, splice, io_uring)";
        } else if container.terminal {
            found +=
                ", without what goes to its terminal past write (sendfile, splice, io_uring) until it is restarted";
        }
        Check::ok(ID, found)
    }
}

/// Where its output goes, and what is lost of it without the agent.
fn logged(container: &RunningContainer) -> String {
    let driver = &container.log_driver;
    match driver.as_str() {
        "none" => "none: `docker logs` has nothing".to_owned(),
        "" => "log driver not told".to_owned(),
        _ if container.log_options.get("mode").is_some_and(|mode| mode == "non-blocking") => {
            format!("{driver}, non-blocking: the engine drops what its buffer does not hold")
        }
        _ => driver.clone(),
    }
}

/// Containers of other engines have cgroups, and no names.
fn strangers(cgroups: &[ContainerCgroup], known: &[RunningContainer]) -> Option<Check> {
    let known: BTreeSet<_> = known.iter().map(|container| container.metadata.id.as_str()).collect();
    let count = cgroups
        .iter()
        .filter(|cgroup| !known.contains(cgroup.container_id.as_str()) && cgroup.init() != Init::Nobody)
        .count();
    (count > 0).then(|| {
        let found = format!("{count} that the engine does not name; {CAPTURED}, with ids in place of names");
        Check::ok(ID, found).titled("  others")
    })
}

/// Whether both descriptors are the same output: a terminal, or a pipe after `2>&1`.
fn is_one_output(pid: u32) -> bool {
    let inode = |fd: u32| fs::metadata(format!("/proc/{pid}/fd/{fd}")).map(|metadata| metadata.ino()).ok();
    inode(1).is_some() && inode(1) == inode(2)
}

/// By the class of its ELF file (`elf(5)`: `EI_CLASS`).
fn is_32_bit(pid: u32) -> bool {
    let mut head = [0; 5];
    File::open(format!("/proc/{pid}/exe")).and_then(|mut file| file.read_exact(&mut head)).is_ok() && head[4] == 1
}
