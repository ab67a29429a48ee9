//! The unit as systemd itself reads it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use capture_tests::{process, workspace};

const DEADLINE: Duration = Duration::from_secs(30);
/// Of what `systemd-analyze security` gives from 0 (nothing can happen) to 100. Root and the network alone are 17.
const EXPOSURE: u32 = 30;

/// Where the unit is.
pub fn unit() -> PathBuf {
    workspace::root().join("deploy/systemd/capture-agent.service")
}

/// Values of a key of the unit, in their order.
pub fn values(key: &str) -> Result<Vec<String>> {
    let text = fs::read_to_string(unit())?;
    let found = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned));
    let found: Vec<_> = found.collect();
    ensure!(!found.is_empty(), "the unit has no {key}");
    Ok(found)
}

#[test]
fn systemd_finds_no_mistake() -> Result<()> {
    // It looks whether what is executed is there.
    let root = tempfile::tempdir()?;
    let text = fs::read_to_string(unit())?;
    let here = root.path().join("capture-agent.service");
    fs::write(&here, text.replace("/usr/bin/capture-agent", &workspace::agent_binary().display().to_string()))?;
    let verify = |unit: &PathBuf| {
        process::output(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(unit), DEADLINE)
    };
    let output = verify(&here)?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success() && said.is_empty(), "{said}");
    // And it would find one.
    fs::write(&here, fs::read_to_string(&here)?.replace("ProtectHome=", "ProtectHouse="))?;
    let output = verify(&here)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(said.contains("ProtectHouse"), "{said}");
    Ok(())
}

#[test]
fn it_exposes_little() -> Result<()> {
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--offline=true", "--no-pager", &format!("--threshold={EXPOSURE}")]).arg(unit());
    let output = process::output(&mut analyze, DEADLINE)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let verdict = said.lines().find(|line| line.contains("Overall exposure level")).context(said.clone())?;
    ensure!(output.status.success(), "{verdict}; the bar is {EXPOSURE} of 100:\n{said}");
    println!("{verdict}");
    Ok(())
}

#[test]
fn the_configuration_is_checked_before_start_and_before_reload() -> Result<()> {
    let check = "/usr/bin/capture-agent validate --no-connect";
    ensure!(values("ExecStartPre")? == [check]);
    ensure!(values("ExecReload")? == [check, "/bin/kill -HUP $MAINPID"]);
    Ok(())
}
