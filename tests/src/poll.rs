//! Waiting for something to become true.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Long enough for a loaded two-core machine; a test that reaches it has failed.
pub const DEADLINE: Duration = Duration::from_secs(30);

const PERIOD: Duration = Duration::from_millis(20);

/// Calls `probe` until it gives something, and gives that.
///
/// # Errors
/// When `deadline` has passed; `what` says what did not happen.
pub fn eventually<T>(what: &str, deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = probe() {
            return Ok(found);
        }
        if begun.elapsed() > deadline {
            bail!("{what}: not within {} s", deadline.as_secs_f32());
        }
        thread::sleep(PERIOD);
    }
}

/// Samples `probe` until it has given the same value for a second, and gives that value.
///
/// # Errors
/// When it keeps changing until `deadline`, or `probe` fails.
pub fn settled<T: PartialEq>(what: &str, deadline: Duration, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
    let mut last = probe()?;
    let mut since = Instant::now();
    eventually(&format!("{what} to settle"), deadline, move || match probe() {
        Err(error) => Some(Err(error)),
        Ok(now) if now != last => {
            last = now;
            since = Instant::now();
            None
        }
        Ok(now) => (since.elapsed() > Duration::from_secs(1)).then_some(Ok(now)),
    })?
}
