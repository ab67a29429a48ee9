//! Flat for as long as it runs, nothing lost, nothing doubled: the soak of `cargo xtask soak`, three minutes long.

use std::time::Duration;

use anyhow::Result;
use capture_tests::soak::{self, Options, report};

fn soak(options: Options) -> Result<()> {
    // Short intervals, so that each container rotates as often as it does in an hour.
    let rotation_interval = Duration::from_secs(5);
    let outcome = soak::run(&Options { containers: 20, rotation_interval, ..options })?;
    println!("{}\n{}", report::table(&outcome), report::notes(&outcome));
    let missed: Vec<_> = outcome.bars.iter().filter(|bar| !bar.met).map(|bar| &bar.what).collect();
    assert!(missed.is_empty(), "missed: {missed:?}");
    Ok(())
}

#[test]
fn three_minutes_with_crash_loops_and_a_frozen_engine() -> Result<()> {
    soak(Options { length: Duration::from_mins(3), freeze: Some(Duration::from_secs(30)), ..Options::default() })
}
