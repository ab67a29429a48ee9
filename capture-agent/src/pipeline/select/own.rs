//! The agent's own container, which it does not capture: what it wrote of it would be new output each time.

use std::fs;

use crate::containers::cgroups::container_id;

/// Id of the container that this process runs in, if it does.
#[must_use]
pub fn own_container() -> Option<String> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    by_cgroup(&read("/proc/self/cgroup")).or_else(|| by_mounts(&read("/proc/self/mountinfo")))
}

/// By the names of its cgroups (`cgroups(7)`), where they are not hidden by a namespace.
fn by_cgroup(text: &str) -> Option<String> {
    let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.flat_map(|path| path.rsplit('/')).find_map(container_id).map(str::to_owned)
}

/// By the files that engines mount over those of the image: `/var/lib/docker/containers/<id>/resolv.conf` and Podman's
/// `…/overlay-containers/<id>/userdata/resolv.conf`.
fn by_mounts(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, mount_point) = (fields.next()?, fields.next()?);
        let is_ours = ["/etc/resolv.conf", "/etc/hostname", "/etc/hosts"].contains(&mount_point);
        is_ours.then(|| root.split('/').find_map(container_id).map(str::to_owned))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4f5b6c7d8e9fa0b14f5b6c7d8e9fa0b14f5b6c7d8e9fa0b14f5b6c7d8e9fa0b1";

    #[test]
    fn the_cgroup_tells_unless_a_namespace_hides_it() {
        for path in [format!("/docker/{ID}"), format!("/system.slice/docker-{ID}.scope/inner")] {
            assert_eq!(by_cgroup(&format!("12:cpu:/\n0::{path}\n")).as_deref(), Some(ID), "{path}");
        }
        assert_eq!(by_cgroup("0::/\n"), None);
        assert_eq!(by_cgroup("0::/user.slice/session-1.scope\n"), None);
    }

    #[test]
    fn the_mounted_files_tell_in_a_namespace() {
        let mounts = format!(
            "600 599 0:5 / /proc rw,nosuid - proc proc rw\n\
             610 599 254:0 /var/lib/docker/containers/{}/logs /var/lib/app rw - ext4 /dev/vda rw\n\
             628 599 254:0 /var/lib/docker/containers/{ID}/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/vda rw\n",
            "a".repeat(64),
        );
        assert_eq!(by_mounts(&mounts).as_deref(), Some(ID));
        assert_eq!(by_mounts("29 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"), None);
        let podman = format!("1 2 0:9 /run/overlay-containers/{ID}/userdata/hosts /etc/hosts rw - tmpfs tmpfs rw\n");
        assert_eq!(by_mounts(&podman).as_deref(), Some(ID));
    }
}
