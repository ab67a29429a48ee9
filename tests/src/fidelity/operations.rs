//! What an engine does to containers while they write.

use std::{fs, thread, time::Duration};

use anyhow::{Context, Result};
use capture_writers::find;
use rustix::process::{Pid, Signal, kill_process};

use super::case::{Case, Expected, Running, writer};
use crate::cgroups::Hierarchy;
use crate::poll::eventually;

/// Lines over about two seconds, so that something can happen meanwhile.
const SLOW: &str = "i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); sleep 0.01; done";

/// Waits for a file that the corpus makes when it has done its part.
const UNTIL_TOLD: &str = "echo before; until [ -e /go ]; do sleep 0.02; done; echo after; /writer write 1";

pub(super) fn cases(seed: u32) -> Vec<Case> {
    let slow = (0..200).map(|number| format!("line {number}\n")).collect::<Vec<_>>().concat();
    let mut cases = vec![
        as_writer("init", "write", seed).options(&["--init"]),
        as_writer("tty", "write", seed).options(&["--tty"]).terminal_order(),
        as_writer("tty-sendfile", "sendfile", seed).options(&["--tty"]),
        sh("tty-devices", "echo a > /dev/tty; echo b > /dev/console; echo c > /dev/stdout; echo d > /proc/1/fd/2")
            .options(&["--tty"])
            // `/dev/tty` is another inode than the terminal that it stands for; the relay's side of it is the same.
            .relay()
            .out("a\nb\nc\nd\n"),
        as_writer("entrypoint", "write", seed).options(&["--entrypoint", "/entrypoint.sh"]).after("entrypoint\n", ""),
        as_writer("entrypoints", "exec", seed)
            .options(&["--entrypoint", "/nested.sh", "--init"])
            .after("entrypoint\n", "nested\n"),
        as_writer("read-only", "reopened", seed).options(&["--read-only", "--user", "0:0"]),
        as_writer("no-log", "write", seed).options(&["--log-driver=none"]),
        as_writer("no-log-sendfile", "mixed", seed).options(&["--log-driver=none"]),
        // Short lines only: `docker logs` of this driver forgets the newline of a line that it has cut.
        as_writer("local-log", "empty-writes", seed).options(&["--log-driver=local"]),
        as_writer("stalled", "write-8m", seed).during(stall),
        as_writer("stalled-sendfile", "mixed-full-pipe", seed).during(stall),
        sh("crash-loop", "echo start $$; cat /none; /writer exit-at-once 1; exit 1")
            .options(&["--restart=on-failure:5"])
            .may_fail()
            .during(|container| {
                let last = || (container.inspect("{{.RestartCount}}").ok()? == "5").then_some(());
                eventually("the fifth restart", Duration::from_mins(1), last)
            }),
        sh("renamed", SLOW).out(slow.clone()).during(|container| {
            pause_for(300);
            container.engine.docker(["rename", &container.id, &format!("{}-renamed", container.name)]).map(drop)
        }),
        sh("paused", SLOW).out(slow).during(|container| {
            pause_for(500);
            container.engine.docker(["pause", &container.id])?;
            pause_for(1000);
            container.engine.docker(["unpause", &container.id]).map(drop)
        }),
        sh("restarted", SLOW).may_fail().during(|container| {
            pause_for(500);
            container.engine.docker(["restart", "--time", "0", &container.id]).map(drop)
        }),
        sh("killed-container", "while true; do echo again; /writer write 1; done").may_fail().during(|container| {
            pause_for(500);
            container.engine.docker(["kill", &container.id]).map(drop)
        }),
        sh("exec", UNTIL_TOLD).during(|container| {
            let all = "echo from exec > /proc/1/fd/1; echo FOREIGN; echo FOREIGN >&2; /writer write 2 > /proc/1/fd/2 2>&1; touch /go";
            container.exec(all).map(drop)
        }),
        sh("exec-sendfile", UNTIL_TOLD).relay().during(|container| {
            container.exec("cat /text > /proc/1/fd/1; cat /text; touch /go").map(drop)
        }),
        sh("child-cgroup", UNTIL_TOLD).during(|container| into_cgroup(container, "child")),
        sh("nested-cgroups", UNTIL_TOLD).during(|container| into_cgroup(container, "a/b/c")),
        sh("child-cgroup-sendfile", &UNTIL_TOLD.replace("write 1", "mixed 1"))
            .relay()
            .during(|container| into_cgroup(container, "child")),
        sh("killed-blocked", "sleep 1; /writer write-8m 1 & sleep 0.8; kill -9 $!; wait; echo end").during(stall),
    ];
    let mut twenty = as_writer("twenty-at-once", "write", seed);
    twenty.copies = 20;
    cases.push(twenty);
    cases
}

fn sh(name: &str, script: &str) -> Case {
    Case::new(name, &["sh", "-c", script])
}

/// A case of the writers under another name.
fn as_writer(name: &str, case: &str, seed: u32) -> Case {
    let mut case = find(case).map_or_else(|| Case::new(name, &["false"]), |case| writer(case, seed));
    name.clone_into(&mut case.name);
    case
}

impl Case {
    /// With something before the content.
    fn after(mut self, out: &str, err: &str) -> Self {
        for (expected, before) in [(&mut self.stdout, out), (&mut self.stderr, err)] {
            if let Expected::Exactly(bytes) = expected {
                bytes.splice(..0, before.bytes());
            }
        }
        self
    }

    /// A terminal is one stream, in which both outputs lie as they were written: only the engine knows the whole.
    fn terminal_order(mut self) -> Self {
        self.stdout = Expected::AsEngine;
        self.stderr = Expected::Exactly(Vec::new());
        self
    }
}

fn pause_for(milliseconds: u64) {
    thread::sleep(Duration::from_millis(milliseconds));
}

/// Stops the container's relay for a while, so that its pipes fill up. It is the shim of this container alone.
fn stall(container: &Running) -> Result<()> {
    let Ok(init @ 1..) = container.init() else { return Ok(()) };
    let stat = fs::read_to_string(format!("/proc/{init}/stat")).context("the container's init is gone")?;
    let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
    let shim = parent.and_then(|parent| parent.parse().ok()).and_then(Pid::from_raw).context("no relay")?;
    kill_process(shim, Signal::STOP)?;
    pause_for(2500);
    kill_process(shim, Signal::CONT).context("the relay cannot be continued")
}

/// Moves the container's init into a cgroup below its own and lets it go on; its children are born there.
fn into_cgroup(container: &Running, below: &str) -> Result<()> {
    let init = container.init()?;
    let own = fs::read_to_string(format!("/proc/{init}/cgroup"))?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/")).context("the container has no v2 cgroup")?;
    let cgroup = Hierarchy::find()?.root().join(path).join(below);
    fs::create_dir_all(&cgroup).with_context(|| format!("{}", cgroup.display()))?;
    fs::write(cgroup.join("cgroup.procs"), init.to_string()).with_context(|| format!("{}", cgroup.display()))?;
    container.exec("touch /go").map(drop)
}
