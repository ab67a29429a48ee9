//! Containers as the kernel knows them, asked of no engine.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::poll::eventually;

/// An engine enters a cgroup right after it made it; one that is empty for this long is nobody's.
const ENTERED_WITHIN: Duration = Duration::from_secs(1);

/// The mounted cgroup v2 hierarchy.
#[derive(Clone, Debug)]
pub struct Hierarchy(PathBuf);

impl Hierarchy {
    /// Finds the mount.
    ///
    /// # Errors
    /// When there is none.
    pub fn find() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let root = mounts.lines().find_map(|line| {
            let (fields, kind) = line.split_once(" - ")?;
            kind.starts_with("cgroup2 ").then(|| fields.split(' ').nth(4).map(PathBuf::from))?
        });
        root.map(Self).context("no cgroup v2 hierarchy is mounted")
    }

    /// The mount point.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// The id of every container that has a process, of whatever engine: a cgroup that nobody removed is no container.
    #[must_use]
    pub fn containers(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        walk(&self.0, &mut |cgroup, id| {
            if is_populated(cgroup) {
                found.insert(id);
            }
        });
        found
    }

    /// Removes what engines that were killed have left behind, so that a test finds no containers but its own.
    pub fn sweep(&self) {
        let mut empty = Vec::new();
        walk(&self.0, &mut |cgroup, _| {
            empty.extend((!is_populated(cgroup)).then(|| cgroup.to_owned()));
        });
        if !empty.is_empty() {
            thread::sleep(ENTERED_WITHIN);
        }
        for cgroup in empty {
            // The kernel refuses where there is a process in it by now.
            let _ = fs::remove_dir(cgroup);
        }
    }
}

/// A cgroup with the name of a container's, removed when dropped.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    id: String,
}

impl Cgroup {
    /// Makes one. A running agent takes the first program that is executed in it for the container's init.
    ///
    /// # Errors
    /// Without a cgroup v2 hierarchy, or rights on it.
    pub fn create() -> Result<Self> {
        let mut random = [0; 32];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let id = random.iter().fold(String::new(), |id, byte| id + &format!("{byte:02x}"));
        let path = Hierarchy::find()?.root().join("capture-test").join(&id);
        fs::create_dir_all(&path).with_context(|| format!("{}", path.display()))?;
        Ok(Self { path, id })
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The container id that the agent knows it by.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel takes a moment to bury the dead. What remains is empty and in nobody's way.
        let _ = eventually("", Duration::from_secs(2), || fs::remove_dir(&self.path).ok());
        let _ = self.path.parent().map(fs::remove_dir);
    }
}

/// As `cgroup.events` says (`Documentation/admin-guide/cgroup-v2.rst`), of a cgroup and those below it.
fn is_populated(cgroup: &Path) -> bool {
    fs::read_to_string(cgroup.join("cgroup.events")).is_ok_and(|events| events.contains("populated 1"))
}

fn walk(directory: &Path, visit: &mut impl FnMut(&Path, String)) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            visit(&entry.path(), name);
        } else {
            walk(&entry.path(), visit);
        }
    }
}
