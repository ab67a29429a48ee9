//! The Python packages of the peers that sinks send to in tests, in a virtual environment of their own.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use capture_tests::peers;

use crate::step;
use crate::workspace::find_program;

/// Where they are, if they are those that are wanted.
pub fn find() -> Option<String> {
    let installed = fs::read(peers::environment().join(MARK)).ok()?;
    let wanted = fs::read(peers::requirements()).ok()?;
    (installed == wanted).then(|| peers::environment().display().to_string())
}

/// Makes the environment anew.
pub fn install() -> Result<()> {
    let (environment, requirements) = (peers::environment(), peers::requirements());
    let python = find_program("python3").context("there is no python3")?;
    let mut make = Command::new(python);
    make.args(["-m", "venv", "--clear"]).arg(&environment);
    step::run("peers-venv", "python3 -m venv", &mut make)?;
    let mut pip = Command::new(environment.join("bin/pip"));
    pip.args(["install", "--disable-pip-version-check", "--only-binary", ":all:", "--requirement"]).arg(&requirements);
    step::run("peers", "pip install the peers' packages", &mut pip)?;
    // Last, so that an installation that was cut off is begun again.
    fs::copy(&requirements, environment.join(MARK)).context("the peers' packages cannot be marked as installed")?;
    Ok(())
}

/// In the environment: what was installed there.
const MARK: &str = "installed.txt";
