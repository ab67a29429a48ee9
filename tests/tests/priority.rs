//! Which threads of the agent the kernel runs before others, and when.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use capture_tests::poll::{DEADLINE, eventually};
use capture_tests::{Agent, Attach, Container, engine, in_both_attach_modes};

/// `SCHED_OTHER` and `SCHED_RR` of sched(7).
const USUAL: u32 = 0;
const REAL_TIME: u32 = 2;

in_both_attach_modes!(it_has_priority_but_while_output_pours_in);

fn it_has_priority_but_while_output_pours_in(attach: Attach) -> Result<()> {
    let output = tempfile::tempdir()?;
    let template = format!("{}/{{container_name}}", output.path().display());
    let agent = Agent::start(attach, &["--file-path", &template, "--file-encoding", "raw"])?;
    let wait = |what: &str, reader: u32, sink: u32| {
        let expected = BTreeMap::from([("reader", reader), ("sink-", sink), ("warden", REAL_TIME)]);
        eventually(what, DEADLINE, || (policies(agent.id()).ok()? == expected).then_some(()))
    };
    wait("priority when there is nothing to do", REAL_TIME, REAL_TIME)?;
    for _ in 0..2 {
        let container = Container::builder(&engine::ensure()?, "pours")?
            .options(["--log-driver", "none"])
            .start(&["yes", "a line that is neither short nor long, and the same as all"])?;
        wait("no priority while output pours in", USUAL, USUAL)?;
        drop(container);
        wait("priority when there is little to do again", REAL_TIME, REAL_TIME)?;
    }
    Ok(())
}

/// The policies of those threads whose work must not come late, by the beginnings of their names.
fn policies(id: u32) -> Result<BTreeMap<&'static str, u32>> {
    let mut policies = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{id}/task")).context("the agent is gone")?.flatten() {
        let stat = fs::read_to_string(task.path().join("stat"))?;
        // Field 41 of `proc_pid_stat(5)`; the name in brackets is the second.
        let (_, name) = stat.split_once('(').context("no name")?;
        let (name, rest) = name.rsplit_once(") ").context("no end of the name")?;
        let policy = rest.split(' ').nth(38).context("no policy")?.parse()?;
        if let Some(known) = ["reader", "sink-", "warden"].into_iter().find(|known| name.starts_with(known)) {
            policies.insert(known, policy);
        }
    }
    Ok(policies)
}
