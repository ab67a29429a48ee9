//! Hosts that are not at hand: made of files.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::config::CaptureSection;
use crate::config::units::RingSize;

fn host(files: &[(&str, &str)]) -> (TempDir, Host) {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let host = Host::at(root.path());
    (root, host)
}

#[track_caller]
fn says(check: &Check, status: Status, words: &[&str]) {
    assert_eq!(check.status, status, "{check:?}");
    let text = format!("{} {}", check.found, check.advice.as_deref().unwrap_or_default());
    for word in words {
        assert!(text.contains(word), "{word}: {check:?}");
    }
}

#[test]
fn an_old_kernel() {
    let (_root, host) = host(&[("proc/sys/kernel/osrelease", "5.10.0-28-amd64\n")]);
    says(&kernel::version(&host), Status::Failed, &["5.10.0-28-amd64", "5.17", "upgrade"]);
}

#[test]
fn a_kernel_whose_types_lack_a_member() {
    // A header, and nothing behind it.
    let empty = [&[0x9f, 0xeb, 1, 0][..], &[24, 0, 0, 0], &[0; 16]].concat();
    let (root, host) = host(&[("sys/kernel/btf/vmlinux", "no BTF")]);
    says(&kernel::btf(&host), Status::Failed, &["not in BTF format"]);
    fs::write(root.path().join("sys/kernel/btf/vmlinux"), empty).unwrap();
    says(&kernel::btf(&host), Status::Failed, &["task_struct.files", "report"]);
}

#[test]
fn lockdown_by_its_mode() {
    let other = Err(Untried::OtherHost);
    for (mode, status, word) in [
        ("[none] integrity confidentiality", Status::Ok, "mode none"),
        ("none [integrity] confidentiality", Status::Ok, "mode integrity"),
        ("none integrity [confidentiality]", Status::Failed, "lockdown=integrity"),
    ] {
        let (_root, host) = host(&[("sys/kernel/security/lockdown", mode)]);
        says(&kernel::lockdown(&host, &other), status, &[word]);
    }
    says(&kernel::lockdown(&host(&[]).1, &other), Status::Warning, &["securityfs"]);
}

#[test]
fn cgroup_layouts() {
    const V1: &str = "32 31 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory";
    const V2: &str = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
    let layout = |mounts: &str| {
        let (_root, host) = host(&[("proc/self/mountinfo", mounts)]);
        let id = format!("sys/fs/cgroup/unified/docker/{}", "ab".repeat(32));
        fs::create_dir_all(host.path(id)).unwrap();
        hierarchy::layout(&host, &Hierarchy::find_in(mounts))
    };
    says(&layout(&format!("{V1}\n{V2}")), Status::Ok, &["hybrid", "/sys/fs/cgroup/unified", "where 1 containers"]);
    says(&layout(V2), Status::Ok, &["v2; the v2 hierarchy"]);
    says(&layout(V1), Status::Failed, &["v1 only", "no cgroup v2", "mount -t cgroup2"]);
    says(&layout(""), Status::Failed, &["none is mounted"]);
}

#[test]
fn memory_is_what_the_lowest_limit_leaves() {
    const FREE: &str = "MemTotal:  9999 kB\nMemAvailable:  8388608 kB\n";
    let capture = |mib: u32| CaptureSection { ring_size: RingSize(mib << 20), ..CaptureSection::default() };
    let v2 = |own: &str, above: &str| {
        host(&[
            ("proc/self/mountinfo", "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
            ("proc/self/cgroup", "0::/system.slice/agent.service\n"),
            ("proc/meminfo", FREE),
            ("sys/fs/cgroup/system.slice/agent.service/memory.max", own),
            ("sys/fs/cgroup/system.slice/memory.max", above),
        ])
    };
    let (_root, roomy) = v2("max\n", "max\n");
    says(&memory::memory(&roomy, &capture(32)), Status::Ok, &["34MiB for the ring", "free: 8GiB"]);
    let (_root, tight) = v2("max\n", "67108864\n");
    says(&memory::memory(&tight, &capture(32)), Status::Warning, &["/system.slice: 64MiB", "smaller --ring-size"]);
    says(&memory::memory(&tight, &capture(64)), Status::Failed, &["66MiB for the ring", "64MiB"]);

    let (_root, v1) = host(&[
        ("proc/self/mountinfo", "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"),
        ("proc/self/cgroup", "4:memory:/unit\n0::/\n"),
        ("proc/meminfo", FREE),
        ("sys/fs/cgroup/memory/unit/memory.stat", "cache 0\nhierarchical_memory_limit 16777216\n"),
    ]);
    says(&memory::memory(&v1, &capture(32)), Status::Failed, &["/sys/fs/cgroup/memory/unit: 16MiB"]);
}

#[test]
fn clocks() {
    const SOURCE: &str = "sys/devices/system/clocksource/clocksource0/current_clocksource";
    let now = "2026-11-21T12:00:00Z".parse().unwrap();
    let (_root, fast) = host(&[(SOURCE, "tsc\n")]);
    says(&clock::judge(&fast, Some(3), now), Status::Ok, &["2026-11-21T12:00:00Z", "tsc", "same time"]);
    says(&clock::judge(&fast, Some(-60_000), now), Status::Warning, &["-60000 ms", "NTP"]);
    says(&clock::judge(&fast, None, "1970-01-01T00:10:00Z".parse().unwrap()), Status::Warning, &["never set"]);
    let (_root, slow) = host(&[(SOURCE, "hpet\n")]);
    says(&clock::judge(&slow, None, now), Status::Warning, &["hpet is slow", "clocksource=tsc"]);
}

#[test]
fn capabilities_one_by_one() {
    let found = |uid: u32, effective: &str| {
        let status = format!("Name:\tx\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nCapEff:\t{effective}\n");
        let (_root, host) = host(&[("proc/self/status", &status)]);
        privileges::capabilities(&host)
    };
    let [bpf, perfmon, ptrace] = found(0, "0000008000000000").try_into().unwrap();
    says(&bpf, Status::Ok, &["held"]);
    says(&perfmon, Status::Failed, &["missing", "--cap-add PERFMON", "SYS_ADMIN"]);
    says(&ptrace, Status::Failed, &["missing", "--cap-add SYS_PTRACE"]);
    let [bpf, _, ptrace] = found(1000, "0000000000280000").try_into().unwrap();
    says(&bpf, Status::Ok, &["held as CAP_SYS_ADMIN;"]);
    says(&ptrace, Status::Ok, &["held"]);
    says(&found(1000, "0000000000000000")[0], Status::Failed, &["user id 1000", "sudo"]);
}
