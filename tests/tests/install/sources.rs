//! `cargo xtask run`, as the README begins with.

use anyhow::{Result, ensure};
use capture_tests::{agent, engine, workspace};

use crate::program::Program;
use crate::witness;

#[test]
fn one_command_builds_it_and_captures() -> Result<()> {
    let engine = engine::ensure()?;
    let state = tempfile::tempdir()?;
    let mut xtask = workspace::xtask()?;
    xtask.args(["run", "--", "--listen", &agent::free_address()?.to_string()]);
    let mut running = Program::start(xtask.env("CAPTURE_AGENT_STATE_DIR", state.path()))?;
    witness::speaks(&engine, "sources", || Ok(running.printed()))?;
    let status = running.terminate()?;
    ensure!(status.success(), "it ended with {status}: {}", running.printed());
    Ok(())
}
