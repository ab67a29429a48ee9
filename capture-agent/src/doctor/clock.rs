//! Clocks: the one that stamps each write, and the time of day.

use jiff::Timestamp;

use super::{Check, Host};
use crate::containers::docker::Survey;

/// Clock sources that are read from a device, in a microsecond and more (`Documentation/timers`).
const SLOW: [&str; 4] = ["hpet", "acpi_pm", "jiffies", "refined-jiffies"];
const SOURCE: &str = "sys/devices/system/clocksource/clocksource0/current_clocksource";
/// Before this there was no agent, so a clock that says so was never set.
const BUILT_AFTER: Timestamp = Timestamp::constant(1_767_225_600, 0);
/// More than a call to the engine takes.
const TOLERATED_MS: i64 = 1000;

pub(super) fn clock(host: &Host, survey: Option<&Survey>) -> Check {
    judge(host, survey.and_then(|survey| survey.clock_ahead_ms), Timestamp::now())
}

pub(super) fn judge(host: &Host, ahead_ms: Option<i64>, now: Timestamp) -> Check {
    const ID: &str = "clock";
    let source = host.read(SOURCE).unwrap_or_else(|_| "unknown".to_owned());
    let time = jiff::fmt::strtime::format("%Y-%m-%dT%H:%M:%SZ", now).unwrap_or_default();
    let found = format!("{time}, clock source {source}");
    if now < BUILT_AFTER {
        return Check::warning(ID, format!("{found}; the time of day was never set"), "set it, as by NTP");
    }
    if SLOW.contains(&source.as_str()) {
        return Check::warning(
            ID,
            format!("{found} is slow: each captured write reads it, and pays a microsecond or more"),
            "boot with another clock source (clocksource=tsc), if the machine has one",
        );
    }
    match ahead_ms {
        Some(ahead) if ahead.abs() > TOLERATED_MS => Check::warning(
            ID,
            format!("{found}; the Docker engine's is {ahead} ms ahead"),
            "set both by NTP: the times of records and of Docker's own logs differ by as much",
        ),
        Some(_) => Check::ok(ID, format!("{found}; the Docker engine has the same time")),
        None => Check::ok(ID, found),
    }
}
