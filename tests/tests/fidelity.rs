//! What is captured is byte for byte what the engine's own log has, for every way a program can write; shortened.

use anyhow::Result;
use capture_tests::{engine, fidelity};

fn corpus(attach: &str, side: &str) -> Result<()> {
    // Held for as long as the corpus runs.
    let _engine = engine::ensure()?;
    let options = fidelity::Options {
        quick: true,
        only: Vec::new(),
        attach: attach.to_owned(),
        side: side.to_owned(),
        repeat: 1,
        baseline: false,
    };
    assert!(fidelity::run(&options)?, "some cases differ; the table above says which");
    Ok(())
}

#[test]
fn where_containers_write() -> Result<()> {
    corpus("auto", "write")
}

#[test]
fn where_the_runtime_reads() -> Result<()> {
    corpus("auto", "relay")
}

#[test]
fn by_the_tracepoints_of_single_calls_within_their_stated_limits() -> Result<()> {
    corpus("syscalls", "write")
}
