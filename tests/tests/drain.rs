//! A signal to end lets everything out that the kernel has taken: nothing that was written before it is lost.

use anyhow::{Context, Result};
use capture_tests::poll::{DEADLINE, eventually};
use capture_tests::{Agent, Attach, Container, engine, in_both_attach_modes};
use rustix::process::Signal;

const LINES: usize = 100_000;

in_both_attach_modes!(sigterm_drains);
in_both_attach_modes!(ctrl_c_drains);

fn sigterm_drains(attach: Attach) -> Result<()> {
    ends_after_everything(attach, Signal::TERM)
}

fn ctrl_c_drains(attach: Attach) -> Result<()> {
    ends_after_everything(attach, Signal::INT)
}

fn ends_after_everything(attach: Attach, signal: Signal) -> Result<()> {
    let engine = engine::ensure()?;
    let shared = tempfile::tempdir()?;
    let volume = format!("{}:/shared", shared.path().display());
    let agent = Agent::start(attach, &[])?;
    // No log of the engine's: the writer is as fast as the relay, and the signal comes right behind it.
    let container = Container::builder(&engine, "drain")?
        .options(["--log-driver", "none", "--volume", volume.as_str()])
        .start(&["sh", "-c", &format!("seq 1 {LINES}; touch /shared/done; sleep 600")])?;
    let mark = shared.path().join("done");
    eventually("the writer to be done", DEADLINE, || mark.exists().then_some(()))?;

    let ended = agent.end(signal)?;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    let records: Vec<_> = ended.records.iter().filter(|record| record.is_of(container.id())).collect();
    let gaps: Vec<_> = records.iter().filter(|record| record.is_gap()).collect();
    assert!(gaps.is_empty(), "{gaps:?}");
    let last = records.last().context("no line at all")?;
    assert_eq!((records.len(), last.message()), (LINES, LINES.to_string().as_str()));
    for (i, record) in records.iter().enumerate() {
        assert_eq!(record.message(), (i + 1).to_string());
    }
    Ok(())
}
