//! File descriptor → file → inode of the current task.

use core::ffi::c_void;

use crate::maps::offset;
use crate::verifier::{member, probe};

const S_IFMT: u16 = 0o170_000;
const S_IFIFO: u16 = 0o010_000;
const S_IFCHR: u16 = 0o020_000;
const S_IFSOCK: u16 = 0o140_000;
/// `MKDEV(1, 3)` in the kernel's own encoding (`include/linux/kdev_t.h`): `/dev/null`.
const NULL_DEVICE: u32 = (1 << 20) | 3;

/// `UNIX98_PTY_SLAVE_MAJOR` and the seven after it (`include/uapi/linux/major.h`).
const PTY_SLAVE_MAJORS: core::ops::RangeInclusive<u32> = 136..=143;
/// `MKDEV(TTYAUX_MAJOR, 2)`: the master side of every pseudo-terminal.
const PTY_MASTER: u32 = (5 << 20) | 2;

/// Whether other threads (or processes) use the descriptors of `task` too.
#[inline(always)]
pub fn are_shared(task: *const c_void) -> bool {
    // SAFETY: the verifier types `task`, and each step from it, by BTF.
    unsafe {
        let files: *const c_void = member(task, offset!(task_files));
        member::<i32>(files, offset!(files_count)) > 1
    }
}

/// The inode, and its number, behind standard output or standard error of `task`, by loads alone: the table of descriptors that a
/// process begins with stands in its `files_struct`, where the verifier knows the types. `None` for any other descriptor, and
/// where the table has given way to a larger one: then there may be a file all the same. Number 0 where there is none.
#[inline(always)]
pub fn standard_output(task: *const c_void, fd: u32) -> Option<(Inode, u64)> {
    // SAFETY: the verifier types `task`, and each step from it, by BTF; a load through null gives null.
    unsafe {
        let files: *const c_void = member(task, offset!(task_files));
        let table: *const c_void = member(files, offset!(files_fdt));
        let own = offset!(files_fd_array);
        if member::<u64>(table, offset!(fdtable_fd)) != files as u64 + u64::from(own) {
            return None;
        }
        let file: *const c_void = match fd {
            1 => member(files, own + 8),
            2 => member(files, own + 16),
            _ => return None,
        };
        let inode: *const c_void = member(file, offset!(file_inode));
        Some((Inode(inode), member(inode, offset!(inode_ino))))
    }
}

/// An open file of the kernel; not yet read.
#[derive(Clone, Copy)]
pub struct File(*const c_void);

/// An inode of the kernel; not yet read.
#[derive(Clone, Copy)]
pub struct Inode(*const c_void);

impl File {
    /// The file behind a descriptor of `task`, which the verifier must know as a `task_struct`.
    #[inline(always)]
    pub fn of_fd(task: *const c_void, fd: u32) -> Option<Self> {
        // SAFETY: the verifier types `task`, and each step from it, by BTF.
        let (max_fds, fds) = unsafe {
            let files: *const c_void = member(task, offset!(task_files));
            let table: *const c_void = member(files, offset!(files_fdt));
            (member::<u32>(table, offset!(fdtable_max_fds)), member::<u64>(table, offset!(fdtable_fd)))
        };
        if fd >= max_fds {
            return None;
        }
        // `struct file **` carries no type for the verifier, so from here on the addresses are numbers.
        let file: u64 = probe((fds + u64::from(fd) * 8) as *const c_void, 0)?;
        Some(Self(file as *const c_void))
    }

    /// What the file is open on.
    #[inline(always)]
    pub fn inode(self) -> Option<Inode> {
        probe::<u64>(self.0, offset!(file_inode)).map(|inode| Inode(inode as *const c_void))
    }

    /// Address of the `tty_struct` of a file that is open on a terminal.
    #[inline(always)]
    fn terminal(self) -> Option<u64> {
        let private: u64 = probe(self.0, offset!(file_private))?;
        probe::<u64>(private as *const c_void, offset!(tty_file_tty))
    }

    /// The terminal that a container has as its output: the slave side of a pseudo-terminal.
    #[inline(always)]
    pub fn slave(self, inode: Inode) -> Option<u64> {
        let device = inode.character_device()?;
        if PTY_SLAVE_MAJORS.contains(&(device >> 20)) { self.terminal() } else { None }
    }

    /// The slave side that a relay reads the output of, if it reads from the master side of a pseudo-terminal.
    #[inline(always)]
    pub fn slave_of_master(self, inode: Inode) -> Option<u64> {
        if inode.character_device()? != PTY_MASTER {
            return None;
        }
        probe(self.terminal()? as *const c_void, offset!(tty_link))
    }
}

impl Inode {
    /// An inode at an address that was noted down earlier; to be checked against its number and device.
    #[inline(always)]
    pub fn at(address: u64) -> Self {
        Self(address as *const c_void)
    }

    /// Where it stands in kernel memory.
    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0 as u64
    }

    /// The pipe of a pipe's inode.
    #[inline(always)]
    pub fn pipe(self) -> Option<u64> {
        if probe::<u16>(self.0, offset!(inode_mode))? & S_IFMT != S_IFIFO {
            return None;
        }
        probe(self.0, offset!(inode_pipe))
    }

    #[inline(always)]
    fn character_device(self) -> Option<u32> {
        if probe::<u16>(self.0, offset!(inode_mode))? & S_IFMT != S_IFCHR {
            return None;
        }
        probe(self.0, offset!(inode_rdev))
    }

    /// Inode number.
    #[inline(always)]
    pub fn number(self) -> Option<u64> {
        probe(self.0, offset!(inode_ino))
    }

    /// Device of the superblock, in the kernel's own encoding.
    #[inline(always)]
    pub fn device(self) -> Option<u32> {
        let superblock: u64 = probe(self.0, offset!(inode_sb))?;
        probe(superblock as *const c_void, offset!(super_block_dev))
    }

    /// Whether a runtime may have put this there to read a container's output from: a pipe, a terminal or a socket.
    #[inline(always)]
    pub fn carries_output(self) -> bool {
        let Some(mode) = probe::<u16>(self.0, offset!(inode_mode)) else { return false };
        match mode & S_IFMT {
            S_IFIFO | S_IFSOCK => true,
            S_IFCHR => probe::<u32>(self.0, offset!(inode_rdev)).is_some_and(|device| device != NULL_DEVICE),
            _ => false,
        }
    }
}
