//! The agent starts while containers are mid-write: what it has is the engine's log from then on.

use std::{thread, time::Duration};

use anyhow::Result;

use super::{
    Options, captured,
    case::{Case, Running},
    compare::difference,
    engine_log,
    judge::Outcome,
    programs::Programs,
    stage::Stage,
};

/// Three containers that write all the time, the agent in their midst.
pub(super) fn run(options: &Options, programs: &Programs) -> Result<Outcome> {
    let script = "i=0; while [ $i -lt 60000 ]; do echo line $i of $HOSTNAME; [ $((i % 100)) = 0 ] && sleep 0.01; i=$((i+1)); done";
    let case = Case::new("attached-late", &["sh", "-c", script]);
    let containers = [(); 3].map(|()| Running::start(&programs.engine, &case));
    thread::sleep(Duration::from_secs(1));
    let stage = Stage::with(options, programs, &[])?;
    let ready = std::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%S.%N"]).output()?;
    let ready = String::from_utf8_lossy(&ready.stdout).trim().to_owned();
    let mut outcome = Outcome::default();
    for container in containers {
        let container = container?;
        container.wait()?;
        let entries = engine_log::read(std::path::Path::new(&container.inspect("{{.LogPath}}")?))?;
        let logged = engine_log::stream(&entries, "stdout");
        let after = entries.iter().filter(|entry| entry.time > ready).map(|entry| entry.text.len()).sum::<usize>();
        let fault = settled(&stage, &container.id, &logged, after)?;
        let got = captured::read(&stage.output(), &container.id, "stdout")?.len();
        let note = Some(format!("{got} of {} bytes, {after} of them since it was ready", logged.len()));
        outcome = outcome.and(Outcome { stdout: got, fault, ..Outcome::default() });
        outcome.note = note;
    }
    stage.close()?;
    Ok(outcome)
}

fn settled(stage: &Stage, id: &str, logged: &[u8], after: usize) -> Result<Option<String>> {
    let mut fault = None;
    for _ in 0..60 {
        let got = captured::read(&stage.output(), id, "stdout")?;
        fault = if after == 0 {
            Some("the containers had ended before the agent was ready".to_owned())
        } else if got.len() < after {
            Some(format!("captured {} bytes, of {after} since it was ready", got.len()))
        } else if got.len() == logged.len() {
            Some("it has what was written before it started".to_owned())
        } else {
            difference(&logged[logged.len().saturating_sub(got.len())..], &got)
        };
        if fault.is_none() {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(fault)
}
