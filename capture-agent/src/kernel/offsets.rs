//! Where members of kernel structures stand in the running kernel, from its BTF.
//!
//! eBPF programs written in Rust carry no CO-RE relocations, so the agent resolves the offsets and hands them over.

use std::fs;

use capture_common::Offsets;

use super::KernelError;
use super::btf::Types;
use super::preflight::VMLINUX_BTF;

/// Resolves everything that the eBPF programs ask for.
///
/// # Errors
///
/// [`KernelError::NoBtf`] where the kernel has none, [`KernelError::BadBtf`] where it cannot be read, and
/// [`KernelError::MissingField`], which names the member.
pub fn resolve() -> Result<Offsets, KernelError> {
    resolve_in(&fs::read(VMLINUX_BTF).map_err(|_| KernelError::NoBtf)?)
}

/// Resolves everything that the eBPF programs ask for in the BTF of a kernel, which need not be the running one.
///
/// # Errors
///
/// [`KernelError::BadBtf`] and [`KernelError::MissingField`].
pub fn resolve_in(btf: &[u8]) -> Result<Offsets, KernelError> {
    let types = Types::parse(btf).ok_or_else(|| KernelError::BadBtf { cause: "not in BTF format".to_owned() })?;
    let member = |structure: &'static str, path: &'static str| {
        types.offset_of(structure, path).ok_or(KernelError::MissingField { structure, path })
    };
    let register = |name| member("pt_regs", name);

    Ok(Offsets {
        task_files: member("task_struct", "files")?,
        task_real_parent: member("task_struct", "real_parent")?,
        task_cgroups: member("task_struct", "cgroups")?,
        css_set_cgroup: member("css_set", "dfl_cgrp")?,
        task_comm: member("task_struct", "comm")?,
        task_tgid: member("task_struct", "tgid")?,
        task_status: member("task_struct", "thread_info.status")?,
        files_count: member("files_struct", "count")?,
        files_fdt: member("files_struct", "fdt")?,
        files_fd_array: member("files_struct", "fd_array")?,
        fdtable_max_fds: member("fdtable", "max_fds")?,
        fdtable_fd: member("fdtable", "fd")?,
        file_inode: member("file", "f_inode")?,
        file_private: member("file", "private_data")?,
        tty_file_tty: member("tty_file_private", "tty")?,
        tty_link: member("tty_struct", "link")?,
        inode_mode: member("inode", "i_mode")?,
        inode_rdev: member("inode", "i_rdev")?,
        inode_ino: member("inode", "i_ino")?,
        inode_sb: member("inode", "i_sb")?,
        inode_pipe: member("inode", "i_pipe")?,
        super_block_dev: member("super_block", "s_dev")?,
        pipe_mutex_owner: member("pipe_inode_info", "mutex.owner")?,
        pipe_head: member("pipe_inode_info", "head")?,
        pipe_tail: member("pipe_inode_info", "tail")?,
        pipe_ring_size: member("pipe_inode_info", "ring_size")?,
        pipe_bufs: member("pipe_inode_info", "bufs")?,
        pipe_buffer_offset: member("pipe_buffer", "offset")?,
        pipe_buffer_len: member("pipe_buffer", "len")?,
        pipe_buffer_size: types
            .size_of("pipe_buffer")
            .ok_or(KernelError::MissingField { structure: "pipe_buffer", path: "(size)" })?,
        cgroup_kn: member("cgroup", "kn")?,
        cgroup_root: member("cgroup", "root")?,
        cgroup_parent_css: member("cgroup", "self.parent")?,
        css_cgroup: member("cgroup_subsys_state", "cgroup")?,
        cgroup_root_hierarchy: member("cgroup_root", "hierarchy_id")?,
        kernfs_id: member("kernfs_node", "id")?,
        kernfs_name: member("kernfs_node", "name")?,
        regs_args: [
            register("di")?,
            register("si")?,
            register("dx")?,
            register("r10")?,
            register("r8")?,
            register("r9")?,
        ],
        regs_compat_args: [register("bx")?, register("cx")?, register("dx")?, register("si")?, register("di")?],
    })
}
