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

/// An inode of the kernel; not yet read.
#[derive(Clone, Copy)]
pub struct Inode(*const c_void);

impl Inode {
    /// The inode behind a file descriptor of `task`, which the verifier must know as a `task_struct`.
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
        let inode: u64 = probe(file as *const c_void, offset!(file_inode))?;
        Some(Self(inode as *const c_void))
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
