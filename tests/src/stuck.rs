//! What an engine that does not come to an end is waiting for.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::poll::eventually;

/// Goroutines that are told of.
const MOST: usize = 12;
/// Lines of each.
const DEPTH: usize = 16;

/// Goroutines of `dockerd` that have waited for minutes in its own code (it writes them to a file under `exec_root` on
/// SIGUSR1), and the processes of `containers` with where they are in the kernel.
pub(crate) fn report(daemon: Pid, exec_root: &Path, containers: &[&str]) -> String {
    let mut text = String::new();
    for container in containers {
        for pid in processes_of(container) {
            let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let status = read("status");
            let state = status.lines().find(|line| line.starts_with("State:")).unwrap_or("gone");
            let _ = writeln!(text, "{container}: process {pid} {state}, {}\n{}", read("wchan"), read("stack"));
        }
    }
    if kill_process(daemon, Signal::USR1).is_ok() {
        // It ends with the last goroutine, and none of them is announced.
        std::thread::sleep(Duration::from_secs(1));
        match eventually("dockerd to write its goroutines", Duration::from_secs(10), || goroutines(exec_root)) {
            Ok(all) => text.push_str(&waiting(&all)),
            Err(error) => _ = writeln!(text, "{error:#}"),
        }
    }
    text
}

/// Processes in the control group of a container, and its shim.
fn processes_of(container: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_in = |pid: &u32| {
        ["cgroup", "cmdline"].iter().any(|file| {
            fs::read_to_string(format!("/proc/{pid}/{file}")).is_ok_and(|text| text.contains(container))
                && fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() != "docker")
        })
    };
    pids.filter(is_in).collect()
}

fn goroutines(exec_root: &Path) -> Option<String> {
    let files = fs::read_dir(exec_root).ok()?.flatten().map(|entry| entry.path());
    let file = files.filter(|path| path.display().to_string().contains("goroutine-stacks-")).max()?;
    fs::read_to_string(file).ok().filter(|text| !text.is_empty())
}

/// Those of a dump that have waited for minutes in the engine's own code and not for its next order.
fn waiting(dump: &str) -> String {
    let is_stuck = |goroutine: &&str| {
        let head = goroutine.lines().next().unwrap_or_default();
        head.contains("minutes") && goroutine.contains("docker/docker/daemon.(*Daemon)")
    };
    let stuck = dump.split("\n\n").filter(is_stuck).take(MOST);
    stuck.map(|goroutine| goroutine.lines().take(DEPTH).collect::<Vec<_>>().join("\n") + "\n\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goroutines_that_have_waited_in_the_engines_code_are_told_of() {
        let dump = "goroutine 1 [chan receive, 3 minutes]:\ngithub.com/docker/docker/daemon.(*Daemon).Kill(0x1)\n\n\
                    goroutine 2 [select, 3 minutes]:\nnet/http.(*persistConn).writeLoop(0x1)\n\n\
                    goroutine 3 [running]:\ngithub.com/docker/docker/daemon.(*Daemon).Kill(0x1)\n";
        assert_eq!(waiting(dump).matches("goroutine").count(), 1);
        assert!(waiting(dump).starts_with("goroutine 1 "));
    }

    #[test]
    fn a_process_is_found_by_what_it_was_started_with() {
        assert!(processes_of("no container has this name").is_empty());
        let me = fs::read_to_string("/proc/self/cmdline").unwrap();
        assert!(processes_of(me.split('\0').next().unwrap()).contains(&std::process::id()));
    }
}
