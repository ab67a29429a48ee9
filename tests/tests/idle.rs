//! An agent to which nothing comes looks around seldom, and is there at once when something does.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use capture_tests::poll::{DEADLINE, eventually};
use capture_tests::{Agent, Attach, Container, engine, in_both_attach_modes};

/// Over so long the reader's sleeps are counted.
const WINDOW: Duration = Duration::from_secs(3);
/// It looks once a second, and ten times while output comes; the other containers of the host may write something.
const SLEEPS: u64 = 9;

in_both_attach_modes!(a_silent_host_wakes_the_reader_seldom);

fn a_silent_host_wakes_the_reader_seldom(attach: Attach) -> Result<()> {
    let agent = Agent::start(attach, &[])?;
    let container = Container::start(
        &engine::ensure()?,
        "silent",
        "echo before; while ! [ -e /go ]; do sleep 1; done; echo after",
    )?;
    agent.wait_for_message(container.name(), "before")?;
    eventually("the reader to be idle", DEADLINE, || {
        let before = sleeps(agent.id()).ok()?;
        thread::sleep(WINDOW);
        (sleeps(agent.id()).ok()? - before <= SLEEPS).then_some(())
    })?;
    container.exec("touch /go")?;
    agent.wait_for_message(container.name(), "after")?;
    Ok(())
}

/// How often the reader went to sleep by itself.
fn sleeps(id: u32) -> Result<u64> {
    for task in fs::read_dir(format!("/proc/{id}/task")).context("the agent is gone")?.flatten() {
        let status = fs::read_to_string(task.path().join("status"))?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if field("Name:") == Some("reader") {
            return field("voluntary_ctxt_switches:").context("no count of sleeps")?.parse().context("a number");
        }
    }
    anyhow::bail!("no thread that reads")
}
