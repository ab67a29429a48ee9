//! Which containers exist, asked of nobody but the kernel: the check of what the agent says is active.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The mounted cgroup v2 hierarchy.
#[derive(Clone, Debug)]
pub(super) struct Hierarchy(PathBuf);

impl Hierarchy {
    /// Finds the mount.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn find() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let root = mounts.lines().find_map(|line| {
            let (fields, kind) = line.split_once(" - ")?;
            kind.starts_with("cgroup2 ").then(|| fields.split(' ').nth(4).map(PathBuf::from))?
        });
        root.map(Self).context("no cgroup v2 hierarchy is mounted")
    }

    /// The id of every container that has a process, of whatever engine: a cgroup that nobody removed is no container.
    pub(super) fn containers(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        walk(&self.0, &mut found);
        found
    }
}

/// As `cgroup.events` says (`Documentation/admin-guide/cgroup-v2.rst`), of a cgroup and those below it.
fn is_populated(cgroup: &Path) -> bool {
    fs::read_to_string(cgroup.join("cgroup.events")).is_ok_and(|events| events.contains("populated 1"))
}

fn walk(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            if is_populated(&entry.path()) {
                found.insert(name);
            }
        } else {
            walk(&entry.path(), found);
        }
    }
}
