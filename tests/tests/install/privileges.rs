//! Each capability that the README gives the agent is needed, and there is none that it lacks.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use capture_tests::poll::{DEADLINE, eventually};
use capture_tests::{Container, Record, agent, engine, process, workspace};
use tempfile::TempDir;

use crate::program::Program;
use crate::{image, witness};

/// The agent's command, limited to these capabilities.
fn limited(capabilities: &[String], state: &TempDir) -> Result<Command> {
    let names: Vec<_> = capabilities.iter().map(|name| format!("+{}", name.to_lowercase())).collect();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--no-new-privs", "--inh-caps=-all"]);
    command.arg(format!("--bounding-set=-all,{}", names.join(",")));
    command.arg(workspace::agent_binary()).args(["run", "--listen", &agent::free_address()?.to_string()]);
    command.arg("--state-dir").arg(state.path());
    Ok(command)
}

#[test]
fn without_one_of_three_it_says_which() -> Result<()> {
    let all = image::capabilities_of_the_readme()?;
    for missing in ["BPF", "PERFMON", "SYS_PTRACE"] {
        ensure!(all.iter().any(|name| name == missing), "{missing} is not among {all:?}");
        let state = tempfile::tempdir()?;
        let others: Vec<_> = all.iter().filter(|name| *name != missing).cloned().collect();
        let output = process::output(&mut limited(&others, &state)?, Duration::from_secs(10))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success() && said.contains(&format!("CAP_{missing}")), "without {missing}: {said}");
    }
    Ok(())
}

#[test]
fn the_fourth_is_for_other_users_containers_that_ran_before() -> Result<()> {
    let all = image::capabilities_of_the_readme()?;
    let without: Vec<_> = all.iter().filter(|name| *name != "DAC_READ_SEARCH").cloned().collect();
    ensure!(without.len() == 4, "{all:?}");
    let engine = engine::ensure()?;
    // It starts no program later, by which it would be noticed.
    let top = ["top", "-b", "-d", "1"];
    let own = Container::builder(&engine, "privileges-root")?.start(&top)?;
    let others = Container::builder(&engine, "privileges-user")?.options(["--user", "1234"]).start(&top)?;
    let heard = |capabilities: &[String], done: &dyn Fn(usize, usize) -> bool| -> Result<(usize, usize)> {
        let state = tempfile::tempdir()?;
        let running = Program::start(&mut limited(capabilities, &state)?)?;
        let of = |records: &[Record], container: &Container| {
            records.iter().filter(|record| record.is_of(container.id())).count()
        };
        eventually("lines of containers that ran before", DEADLINE, || {
            let records = witness::records(&running.printed());
            let counts = (of(&records, &own), of(&records, &others));
            done(counts.0, counts.1).then_some(counts)
        })
    };
    heard(&all, &|own, others| own > 0 && others > 0)?;
    // Twenty lines are several rounds of both.
    let (own, others) = heard(&without, &|own, _| own > 20)?;
    ensure!(others == 0, "{own} lines of root's, and {others} of another user's");
    Ok(())
}

#[test]
fn the_fifth_is_for_the_readers_priority() -> Result<()> {
    // As `include/uapi/linux/sched.h` has them.
    const SCHED_OTHER: u32 = 0;
    const SCHED_RR: u32 = 2;
    const COMPLAINT: &str = "the reader has no priority";
    let all = image::capabilities_of_the_readme()?;
    let without: Vec<_> = all.iter().filter(|name| *name != "SYS_NICE").cloned().collect();
    ensure!(without.len() == 4, "{all:?}");
    let container = Container::start(&engine::ensure()?, "privileges-nice", "while echo tick; do sleep 0.1; done")?;
    for (capabilities, is_told) in [(&all, false), (&without, true)] {
        let state = tempfile::tempdir()?;
        let running = Program::start(&mut limited(capabilities, &state)?)?;
        eventually("a line", DEADLINE, || {
            witness::records(&running.printed()).iter().any(|record| record.is_of(container.id())).then_some(())
        })?;
        let said = running.printed();
        ensure!(said.contains(COMPLAINT) == is_told, "{capabilities:?}: {said}");
        let policies = running.policies_of("reader")?;
        ensure!(policies == [if is_told { SCHED_OTHER } else { SCHED_RR }], "{capabilities:?}: {policies:?}");
    }
    Ok(())
}
