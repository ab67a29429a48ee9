//! What the agent tells the eBPF programs before they are loaded.

/// [`Config::relay`]: never; the hook on the relay's reads is not attached.
pub const RELAY_NEVER: u64 = 0;
/// [`Config::relay`]: terminals, and streams whose bytes do not pass `write`.
pub const RELAY_WHEN_NEEDED: u64 = 1;
/// [`Config::relay`]: every stream, from its start.
pub const RELAY_ALWAYS: u64 = 2;

/// Byte offsets of kernel structure members, from the running kernel's BTF.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// `task_struct.files`
    pub task_files: u32,
    /// `task_struct.real_parent`
    pub task_real_parent: u32,
    /// `task_struct.cgroups`
    pub task_cgroups: u32,
    /// `css_set.dfl_cgrp`
    pub css_set_cgroup: u32,
    /// `task_struct.comm`
    pub task_comm: u32,
    /// `task_struct.tgid`
    pub task_tgid: u32,
    /// `task_struct.thread_info.status`
    pub task_status: u32,
    /// `files_struct.count`
    pub files_count: u32,
    /// `files_struct.fdt`
    pub files_fdt: u32,
    /// `files_struct.fd_array`
    pub files_fd_array: u32,
    /// `fdtable.max_fds`
    pub fdtable_max_fds: u32,
    /// `fdtable.fd`
    pub fdtable_fd: u32,
    /// `file.f_inode`
    pub file_inode: u32,
    /// `file.private_data`
    pub file_private: u32,
    /// `tty_file_private.tty`
    pub tty_file_tty: u32,
    /// `tty_struct.link`
    pub tty_link: u32,
    /// `inode.i_mode`
    pub inode_mode: u32,
    /// `inode.i_rdev`
    pub inode_rdev: u32,
    /// `inode.i_ino`
    pub inode_ino: u32,
    /// `inode.i_sb`
    pub inode_sb: u32,
    /// `inode.i_pipe`
    pub inode_pipe: u32,
    /// `super_block.s_dev`
    pub super_block_dev: u32,
    /// `pipe_inode_info.mutex.owner`
    pub pipe_mutex_owner: u32,
    /// `pipe_inode_info.head`
    pub pipe_head: u32,
    /// `pipe_inode_info.tail`
    pub pipe_tail: u32,
    /// `pipe_inode_info.ring_size`
    pub pipe_ring_size: u32,
    /// `pipe_inode_info.bufs`
    pub pipe_bufs: u32,
    /// `pipe_buffer.offset`
    pub pipe_buffer_offset: u32,
    /// `pipe_buffer.len`
    pub pipe_buffer_len: u32,
    /// `sizeof(struct pipe_buffer)`
    pub pipe_buffer_size: u32,
    /// `cgroup.kn`
    pub cgroup_kn: u32,
    /// `cgroup.root`
    pub cgroup_root: u32,
    /// `cgroup.self.parent`
    pub cgroup_parent_css: u32,
    /// `cgroup_subsys_state.cgroup`
    pub css_cgroup: u32,
    /// `cgroup_root.hierarchy_id`
    pub cgroup_root_hierarchy: u32,
    /// `kernfs_node.id`
    pub kernfs_id: u32,
    /// `kernfs_node.name`
    pub kernfs_name: u32,
    /// The six argument registers of a 64-bit system call: `di`, `si`, `dx`, `r10`, `r8`, `r9`.
    pub regs_args: [u32; 6],
    /// The five argument registers of a 32-bit system call: `bx`, `cx`, `dx`, `si`, `di`.
    pub regs_compat_args: [u32; 5],
}

/// Read-only globals of the eBPF programs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Bytes of ring buffer that one container may hold at a time.
    pub ring_share: u64,
    /// When streams are captured at the relay: one of the `RELAY_*` values.
    pub relay: u64,
    /// Where members stand in this kernel.
    pub offsets: Offsets,
}
