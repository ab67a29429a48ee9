//! What arrives when a destination is away, the agent is killed, or its configuration changes: `cargo xtask outage`, short.

use std::time::Duration;

use anyhow::Result;
use capture_tests::outage::{self, Bar, Buffers, Options, reloads, report};

fn all_met(bars: &[Bar]) {
    println!("{}", report::table(bars));
    let missed: Vec<_> = bars.iter().filter(|bar| !bar.met).collect();
    assert!(missed.is_empty(), "missed: {missed:?}");
}

fn outage(seconds: u64, buffers: Buffers) -> Result<()> {
    let (lead_in, outage) = (Duration::from_secs(2), Duration::from_secs(seconds));
    let outcome = outage::run(&Options { containers: 4, rate: 200, lead_in, outage, buffers })?;
    println!("{}", report::notes(&outcome));
    all_met(&outcome.bars());
    Ok(())
}

#[test]
fn a_buffer_on_disk_keeps_every_line_over_an_outage_and_two_kills() -> Result<()> {
    outage(20, Buffers::Disk)
}

#[test]
fn queues_in_memory_count_every_line_that_they_drop() -> Result<()> {
    outage(12, Buffers::Memory(512 << 10))
}

#[test]
fn reloads_under_load_neither_lose_nor_double_a_line() -> Result<()> {
    all_met(&reloads::run(reloads::Options { containers: 4, rate: 200, reloads: 200 })?.bars());
    Ok(())
}
