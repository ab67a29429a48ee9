//! Many containers that write three lines and are gone, under their names.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Result, bail};

use super::{judge::Outcome, programs, stage::Stage};
use crate::process;

/// Started at a time.
const AT_ONCE: u32 = 8;
const DEADLINE: Duration = Duration::from_mins(2);

/// Runs 1,000 of them, or 50; each must be complete under its own name.
pub(super) fn run(stage: &Stage, quick: bool) -> Result<Outcome> {
    let count = if quick { 50 } else { 1000 };
    let prefix = crate::container::unique_name("short");
    let next = AtomicU32::new(0);
    thread::scope(|scope| {
        let starters: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(|| start(stage, &prefix, &next, count))).collect();
        starters.into_iter().try_for_each(|starter| starter.join().unwrap_or_else(|_| bail!("a starter panicked")))
    })?;
    let begun = std::time::Instant::now();
    let whole = loop {
        let whole = complete(&stage.output(), &prefix, count);
        if whole == count || begun.elapsed() > Duration::from_secs(10) {
            break whole;
        }
        thread::sleep(Duration::from_millis(100));
    };
    let old_way = stage.baseline.as_ref().map(|old| (complete(&old.output, &prefix, count) as usize, count as usize));
    let fault = (whole != count).then(|| format!("{whole} of {count} containers whole"));
    let note = Some(format!("{whole} of {count} containers whole and named"));
    Ok(Outcome { fault, old_way, note, ..Outcome::default() })
}

fn start(stage: &Stage, prefix: &str, next: &AtomicU32, count: u32) -> Result<()> {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= count {
            return Ok(());
        }
        let mut client = stage.engine.client();
        client.args(["run", "--rm", "--network", "none", "--name", &format!("{prefix}-{number}")]);
        client.args([programs::IMAGE, "printf", "%s\\n", &format!("one {number}"), &format!("two {number}"), "three"]);
        match process::text(&mut client, DEADLINE) {
            // The old way's follower may hold the log open that the engine wants to remove: the container did run.
            Err(error) if stage.baseline.is_none() => return Err(error),
            _ => {}
        }
    }
}

/// How many have exactly their three lines in a directory of their own name.
fn complete(output: &std::path::Path, prefix: &str, count: u32) -> u32 {
    let whole = |number: &u32| {
        let expected = format!("one {number}\ntwo {number}\nthree\n");
        let files = std::fs::read_dir(output.join(format!("{prefix}-{number}"))).into_iter().flatten().flatten();
        let contents = files.filter_map(|file| std::fs::read(file.path()).ok()).collect::<Vec<_>>().concat();
        contents == expected.as_bytes()
    };
    (0..count).filter(whole).count() as u32
}
