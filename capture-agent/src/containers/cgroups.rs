//! Containers in the cgroup v2 hierarchy: where they stand, which process is their init, what it writes to.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use capture_common::CONTAINER_ID_LEN;
use rustix::fs::{FileType, major, makedev, minor, stat};

use crate::kernel::{KernelError, Streams};

/// How deep below the mount point cgroups are looked at; the deepest known layout (Kubernetes in Docker) has 9 levels.
const MAX_DEPTH: u32 = 16;
/// Processes of a container that are looked at to find its init.
const MAX_PROCESSES: usize = 4096;

/// The mounted cgroup v2 hierarchy.
#[derive(Clone, Debug)]
pub struct Hierarchy {
    root: PathBuf,
}

/// A container's cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerCgroup {
    /// 64 hexadecimal digits, from the cgroup's name.
    pub container_id: String,
    /// Inode number: what the kernel calls the cgroup's id.
    pub cgroup_id: u64,
    /// Where it stands.
    pub path: PathBuf,
    /// Inode numbers of the cgroups below it.
    pub children: Vec<u64>,
}

impl Hierarchy {
    /// Finds the mount.
    ///
    /// # Errors
    ///
    /// [`KernelError::NoCgroup2`] on a host with cgroup v1 only.
    pub fn find() -> Result<Self, KernelError> {
        Self::find_in(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    /// Finds the mount in a `/proc/<pid>/mountinfo`.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find).
    pub fn find_in(mounts: &str) -> Result<Self, KernelError> {
        mount_point(mounts).map(|root| Self { root }).ok_or(KernelError::NoCgroup2)
    }

    /// The hierarchy that stands below `root`, which need not be a mount point.
    #[must_use]
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The mount point.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Every container's cgroup. Those that vanish meanwhile are left out.
    #[must_use]
    pub fn containers(&self) -> Vec<ContainerCgroup> {
        let mut found = Vec::new();
        walk(&self.root, MAX_DEPTH, &mut found);
        found
    }
}

/// The first cgroup2 mount of a `mountinfo` (`proc_pid_mountinfo(5)`: fields, ` - `, type, …).
fn mount_point(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (fields, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup2 ").then(|| fields.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// The id in the name of a container's cgroup. The kernel side's `lifecycle.rs` has the same rule.
#[must_use]
pub fn container_id(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let start = name.len().checked_sub(CONTAINER_ID_LEN)?;
    let (prefix, id) = name.split_at_checked(start)?;
    let is_id = id.bytes().all(|byte| byte.is_ascii_hexdigit());
    // The monitor's cgroup, `libpod-conmon-<id>.scope`, is not the container's.
    let is_container = prefix.is_empty() || (prefix.ends_with('-') && !prefix.ends_with("conmon-"));
    (is_id && is_container).then_some(id)
}

fn walk(directory: &Path, depth: u32, found: &mut Vec<ContainerCgroup>) {
    let Some(depth) = depth.checked_sub(1) else { return };
    for (path, name) in subdirectories(directory) {
        match (container_id(&name), fs::metadata(&path)) {
            (Some(id), Ok(metadata)) => {
                let mut children = Vec::new();
                descendants(&path, MAX_DEPTH, &mut children);
                found.push(ContainerCgroup {
                    container_id: id.to_owned(),
                    cgroup_id: metadata.ino(),
                    children: children.iter().filter_map(|path| fs::metadata(path).ok()).map(|m| m.ino()).collect(),
                    path,
                });
            }
            _ => walk(&path, depth, found),
        }
    }
}

fn descendants(directory: &Path, depth: u32, found: &mut Vec<PathBuf>) {
    let Some(depth) = depth.checked_sub(1) else { return };
    for (path, _) in subdirectories(directory) {
        descendants(&path, depth, found);
        found.push(path);
    }
}

fn subdirectories(directory: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| (entry.path(), entry.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// What a container's processes tell about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// There is no process: the runtime has made the cgroup and not entered it yet, or it was left behind.
    Nobody,
    /// The runtime is still at work: the init is to come.
    Awaited,
    /// It runs.
    Running(Streams),
}

impl ContainerCgroup {
    /// Whether the agent itself runs in it: its own records, captured again, would never end.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.processes().contains(&std::process::id())
    }

    /// Process ids in the cgroup and those below it.
    fn processes(&self) -> HashSet<u32> {
        let mut directories = Vec::new();
        descendants(&self.path, MAX_DEPTH, &mut directories);
        directories.push(self.path.clone());
        let mut pids = HashSet::new();
        for directory in directories {
            let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()).take(MAX_PROCESSES));
        }
        pids
    }

    /// Looks at the processes.
    #[must_use]
    pub fn init(&self) -> Init {
        let pids = self.processes();
        if pids.is_empty() {
            return Init::Nobody;
        }
        // Of the processes whose parent is outside, the oldest: the others were put in by `docker exec`.
        let init = pids
            .iter()
            .filter_map(|pid| Process::read(*pid))
            .filter(|process| !pids.contains(&process.parent))
            .min_by_key(|process| (process.started, process.pid));
        match init {
            Some(init) if !init.is_runtime => init.streams().map_or(Init::Awaited, Init::Running),
            _ => Init::Awaited,
        }
    }
}

struct Process {
    pid: u32,
    parent: u32,
    /// In clock ticks since boot.
    started: u64,
    /// runc's own stage, before it executes the container's program.
    is_runtime: bool,
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the name in parentheses, which may hold anything.
        let (head, rest) = stat.rsplit_once(") ")?;
        let (_, name) = head.split_once('(')?;
        let mut fields = rest.split(' ');
        let parent = fields.nth(1)?.parse().ok()?;
        let started = fields.nth(17)?.parse().ok()?;
        Some(Self { pid, parent, started, is_runtime: name.starts_with("runc:[") || name == "runc" || name == "crun" })
    }

    /// What it holds as fd 1 and fd 2, where that is a pipe, a socket or a terminal.
    fn streams(&self) -> Option<Streams> {
        let out = output(self.pid, 1);
        // A terminal is one stream, and so is a pipe that both descriptors share.
        let err = output(self.pid, 2).filter(|err| Some(*err) != out);
        (out.is_some() || err.is_some()).then_some(Streams {
            init_pid: self.pid,
            relay_pid: self.parent,
            inodes: [out, err],
        })
    }
}

/// Inode number and device, in the kernel's encoding (`MKDEV` of `include/linux/kdev_t.h`), of an output.
fn output(pid: u32, fd: u32) -> Option<(u64, u32)> {
    let found = stat(format!("/proc/{pid}/fd/{fd}")).ok()?;
    let carries_output = match FileType::from_raw_mode(found.st_mode) {
        FileType::Fifo | FileType::Socket => true,
        FileType::CharacterDevice => found.st_rdev != makedev(1, 3),
        _ => false,
    };
    carries_output.then(|| (found.st_ino, (major(found.st_dev) << 20) | minor(found.st_dev)))
}

/// A cgroup that the agent makes for a command that it captures; removed when dropped.
#[derive(Debug)]
pub struct CommandCgroup {
    /// Where it stands.
    pub path: PathBuf,
}

impl CommandCgroup {
    /// An id for [`create`](Self::create): 64 hexadecimal digits, as a container has.
    ///
    /// # Errors
    ///
    /// Where the kernel gives no random numbers.
    pub fn random_id() -> io::Result<String> {
        let mut bytes = [0; CONTAINER_ID_LEN / 2];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        Ok(bytes.iter().fold(String::new(), |id, byte| id + &format!("{byte:02x}")))
    }

    /// Makes `capture-agent/<id>` below the mount point.
    ///
    /// # Errors
    ///
    /// Where the hierarchy is read-only, as in a container without the host's.
    pub fn create(hierarchy: &Hierarchy, id: &str) -> io::Result<Self> {
        let path = hierarchy.root().join("capture-agent").join(id);
        fs::create_dir_all(&path)?;
        Ok(Self { path })
    }

    /// Ends what is left in it, and removes it. Its removal is what ends the session.
    pub fn remove(&self) {
        for _ in 0..100 {
            // Empty, or it soon will be: the kernel takes a moment to bury the dead.
            if fs::remove_dir(&self.path).is_ok() || !self.path.exists() {
                break;
            }
            let _ = fs::write(self.path.join("cgroup.kill"), "1");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        // Succeeds for the last one.
        if let Some(parent) = self.path.parent() {
            let _ = fs::remove_dir(parent);
        }
    }
}

impl Drop for CommandCgroup {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_id_in_the_names_that_runtimes_give() {
        let id = "0123456789abcdef".repeat(4);
        for name in
            [id.clone(), format!("docker-{id}.scope"), format!("cri-containerd-{id}.scope"), format!("libpod-{id}")]
        {
            assert_eq!(container_id(&name), Some(id.as_str()), "{name}");
        }
        for name in [
            format!("libpod-conmon-{id}.scope"),
            format!("x{id}"),
            format!("{id}0"),
            id[1..].to_owned(),
            format!("docker-{}.scope", id.replace('0', "g")),
            "system.slice".to_owned(),
            "ä".repeat(33),
        ] {
            assert_eq!(container_id(&name), None, "{name}");
        }
    }

    #[test]
    fn finds_the_v2_mount_among_v1_mounts() {
        let hybrid = "30 1 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n31 1 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(hybrid), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mount_point("30 1 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"), None);
    }
}
