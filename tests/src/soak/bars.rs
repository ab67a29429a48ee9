//! What a soak must show, and whether it did.

use super::{Outcome, Phase, Sample, Trend};

/// Resident memory may grow by less than this after the warm-up, in bytes.
const MEMORY: f64 = 2.0 * 1024.0 * 1024.0;
/// Connections to Docker's API that may be held at a time.
const CONNECTIONS: f64 = 2.0;

/// One bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// What is measured.
    pub what: String,
    /// What it must be.
    pub bar: String,
    /// What it is.
    pub measured: String,
    /// The old way's figure, where it ran beside and there is one.
    pub old: Option<String>,
    /// Whether the bar is met.
    pub met: bool,
}

/// All bars of an outcome; `unbalanced` are the bytes by which the agent's books are off at the end.
pub(super) fn all(outcome: &Outcome, unbalanced: f64) -> Vec<Bar> {
    let settled: Vec<&Sample> = outcome.samples.iter().filter(|sample| is_settled(outcome, sample)).collect();
    let trend = |figure: &dyn Fn(&Sample) -> Option<f64>| course(&settled, figure);
    let mut bars = vec![
        flat("task growth", trend(&|s| s.tasks), trend(&|s| Some(s.old?.tasks))),
        flat("FD growth", trend(&|s| whole(s.usage.fds)), trend(&|s| whole(s.old?.usage.fds))),
        flat("thread growth", trend(&|s| whole(s.usage.threads)), trend(&|s| whole(s.old?.usage.threads))),
        memory(outcome, trend(&|s| whole(s.usage.rss)), trend(&|s| whole(s.old?.usage.rss)), minutes(&settled)),
        rotations(outcome),
        reconciled(&outcome.samples),
        active(outcome),
        lost(&outcome.samples),
        zero("bytes the books are off by at the end", unbalanced, "bytes"),
        connections(outcome),
    ];
    bars.extend(lines(outcome));
    bars
}

/// Whether growth is judged by a sample: not before the warm-up, and not while the harness holds connections to the agent.
fn is_settled(outcome: &Outcome, sample: &Sample) -> bool {
    sample.at >= outcome.options.warm_up().as_secs_f64() && sample.phase != Phase::Hammered
}

fn course(samples: &[&Sample], figure: &dyn Fn(&Sample) -> Option<f64>) -> Option<Trend> {
    let points: Option<Vec<_>> = samples.iter().map(|sample| Some((sample.at, figure(sample)?))).collect();
    Trend::of(&points?)
}

fn minutes(samples: &[&Sample]) -> f64 {
    samples.first().zip(samples.last()).map_or(0.0, |(first, last)| (last.at - first.at) / 60.0)
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
#[expect(clippy::unnecessary_wraps, reason = "figures may be missing; this one is not")]
fn whole(count: u64) -> Option<f64> {
    Some(count as f64)
}

const MISSING: &str = "not exported, or too few samples";

fn flat(what: &str, trend: Option<Trend>, old: Option<Trend>) -> Bar {
    let show = |trend: Trend| format!("{:+.4} ± {:.4} /min, step {:+}", trend.slope, trend.error, trend.step);
    Bar {
        what: what.to_owned(),
        bar: "0: slope within 3 standard errors of 0, last quarter as the first".to_owned(),
        measured: trend.map_or_else(|| MISSING.to_owned(), show),
        old: old.map(show),
        met: trend.is_some_and(Trend::is_flat),
    }
}

fn memory(outcome: &Outcome, trend: Option<Trend>, old: Option<Trend>, minutes: f64) -> Bar {
    let growth = |trend: Trend| trend.step.max(trend.slope * minutes);
    let show = |trend: Trend| format!("{:+.0} KiB", growth(trend) / 1024.0);
    Bar {
        what: format!("RSS growth after the first {:.1} min", outcome.options.warm_up().as_secs_f64() / 60.0),
        bar: "< 2 MiB".to_owned(),
        measured: trend.map_or_else(|| MISSING.to_owned(), show),
        old: old.map(show),
        met: trend.is_some_and(|trend| growth(trend) < MEMORY),
    }
}

fn rotations(outcome: &Outcome) -> Bar {
    let Some((first, last)) = outcome.samples.first().zip(outcome.samples.last()) else {
        return zero("rotations", f64::INFINITY, "");
    };
    let options = &outcome.options;
    let per_minute = 60.0 / options.rotation_interval.as_secs_f64();
    let bar = (f64::from(options.containers) * per_minute * (options.length.as_secs_f64() / 60.0 - 1.0)).floor();
    let count = last.rotations - first.rotations;
    Bar {
        what: format!("rotations of the {} long-lived containers", options.containers),
        bar: format!("≥ {bar}"),
        measured: count.to_string(),
        old: last.old.map(|old| format!("{} (streams opened anew)", old.rotations)),
        met: count >= bar,
    }
}

fn reconciled(samples: &[Sample]) -> Bar {
    let failures = samples.last().and_then(|last| last.reconcile_failures);
    Bar { met: failures == Some(0.0), ..zero("rotations that did not reconcile", failures.unwrap_or(f64::NAN), "") }
}

fn active(outcome: &Outcome) -> Bar {
    let count = outcome.options.containers as usize;
    let exact: Vec<&Sample> =
        outcome.samples.iter().filter(|sample| sample.phase.is_exact() && sample.existing.is_some()).collect();
    let agree = |sample: &&&Sample| whole(sample.existing.unwrap_or_default() as u64) == sample.active;
    let agreeing = exact.iter().filter(agree).count();
    let present = outcome.samples.iter().filter(|sample| sample.present == count).count();
    let others = exact.iter().filter_map(|sample| sample.existing).max().unwrap_or_default().saturating_sub(count);
    let beside = if others > 0 { format!(" (up to {others} others ran beside them)") } else { String::new() };
    Bar {
        what: "active streams".to_owned(),
        bar: format!("{count}, exact whenever {count} run"),
        measured: format!(
            "exact in {agreeing} of {} samples without crash loops{beside}; all {count} present in {present} of {}",
            exact.len(),
            outcome.samples.len()
        ),
        old: outcome.samples.last().and_then(|last| last.old).map(|old| old.streams.to_string()),
        met: !exact.is_empty() && agreeing == exact.len() && present == outcome.samples.len(),
    }
}

fn lost(samples: &[Sample]) -> Bar {
    let most = samples.iter().map(Sample::missing_bytes).fold(0.0, f64::max);
    zero("bytes lost or dropped, by reconciliation", most, "bytes")
}

fn connections(outcome: &Outcome) -> Bar {
    let held: Option<Vec<f64>> = outcome.samples.iter().map(|sample| sample.connections).collect();
    let most = held.map(|held| held.into_iter().fold(0.0, f64::max));
    // Nobody else asks the engine anything then, but for the old way.
    let quiet = || outcome.samples.iter().filter(|sample| sample.phase == Phase::Quiet);
    let seen = quiet().map(|sample| sample.kernel_connections).max();
    let alone = !outcome.options.compare;
    let kernel = match seen {
        Some(seen) if alone => format!("; {seen} seen from outside in quiet samples"),
        _ => String::new(),
    };
    let old =
        |sample: &Sample| whole(sample.kernel_connections as u64).map(|all| all - sample.connections.unwrap_or(0.0));
    Bar {
        what: "Docker API connections held".to_owned(),
        bar: format!("≤ {CONNECTIONS} in every sample"),
        measured: most.map_or_else(|| MISSING.to_owned(), |most| format!("{most} at most{kernel}")),
        old: if alone { None } else { quiet().filter_map(old).reduce(f64::max).map(|most| format!("{most}")) },
        met: most.is_some_and(|most| most <= CONNECTIONS) && !(alone && seen.is_some_and(|seen| seen as u64 > 2)),
    }
}

fn lines(outcome: &Outcome) -> [Bar; 3] {
    let complete = &outcome.completeness;
    let show = |lines: super::Lines| {
        format!(
            "{} of {}, {} doubled, {} torn",
            lines.missing,
            lines.whole + lines.missing,
            lines.doubled,
            lines.garbled
        )
    };
    let docker = complete.docker;
    let long_lived = Bar {
        what: "lines missing, long-lived containers".to_owned(),
        bar: "0, none doubled".to_owned(),
        measured: show(complete.long_lived),
        old: outcome.old_lines.map(show),
        met: complete.long_lived.is_complete(0) && complete.long_lived.whole > 0,
    };
    let short_lived = Bar {
        what: format!("lines missing, {} crashed containers and those that Docker restarts", outcome.crashed),
        bar: "0, none doubled".to_owned(),
        measured: format!(
            "{}; {} containers incomplete in all, {} torn pieces",
            show(complete.short_lived),
            complete.incomplete.len(),
            complete.torn
        ),
        old: None,
        met: complete.is_whole() && outcome.crashed > 0,
    };
    let in_docker = Bar {
        what: "lines of Docker's own log that were not captured".to_owned(),
        bar: "0".to_owned(),
        measured: format!(
            "{}; {} of {} streams identical, {} captured lines are not in Docker's log",
            docker.only_docker, docker.identical, docker.streams, docker.only_ours
        ),
        old: None,
        met: docker.only_docker == 0 && docker.streams > 0,
    };
    [long_lived, short_lived, in_docker]
}

fn zero(what: &str, count: f64, unit: &str) -> Bar {
    let measured = if count.is_nan() { MISSING.to_owned() } else { format!("{count} {unit}").trim().to_owned() };
    Bar { what: what.to_owned(), bar: "0".to_owned(), measured, old: None, met: count == 0.0 }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::soak::{Completeness, Lines, Options, Usage};

    /// Ten minutes of two containers, in which all is as it must be.
    fn flawless() -> Outcome {
        let sample = |number: u32| Sample {
            at: f64::from(number) * 5.0,
            phase: if number.is_multiple_of(10) { Phase::Quiet } else { Phase::Busy },
            usage: Usage { fds: 45, threads: 7, rss: 96 << 20, cpu: 0.1 },
            tasks: Some(4.0),
            active: Some(2.0),
            existing: Some(2),
            present: 2,
            rotations: f64::from(number / 6 * 2),
            reconcile_failures: Some(0.0),
            lost: 0.0,
            dropped: 0.0,
            errors: std::collections::BTreeMap::new(),
            connections: Some(1.0),
            kernel_connections: 1,
            others: 0.0,
            dockerd: None,
            old: None,
        };
        let lines = Lines { whole: 10, ..Lines::default() };
        let docker = crate::soak::Comparison { streams: 2, identical: 2, ..crate::soak::Comparison::default() };
        Outcome {
            options: Options { containers: 2, length: Duration::from_mins(10), ..Options::default() },
            samples: (0..=120).map(sample).collect(),
            diary: Vec::new(),
            machine: String::new(),
            completeness: Completeness { long_lived: lines, short_lived: lines, docker, ..Completeness::default() },
            old_lines: None,
            crashed: 1,
            dockerd_alone: None,
            bars: Vec::new(),
        }
    }

    /// The bars that are missed once `spoil` has had its way.
    fn missed(spoil: impl Fn(&mut Outcome)) -> Vec<String> {
        let mut outcome = flawless();
        spoil(&mut outcome);
        all(&outcome, 0.0).into_iter().filter(|bar| !bar.met).map(|bar| bar.what).collect()
    }

    /// As [`missed`], for each sample and its number.
    fn missed_with(spoil: impl Fn(usize, &mut Sample)) -> Vec<String> {
        missed(|outcome| outcome.samples.iter_mut().enumerate().for_each(|(number, sample)| spoil(number, sample)))
    }

    #[test]
    fn nothing_is_missed_where_all_is_well() {
        assert_eq!(missed(|_| ()), Vec::<String>::new());
        assert_eq!(all(&flawless(), 1.0).iter().filter(|bar| !bar.met).count(), 1, "books that are off");
    }

    #[test]
    fn growth_is_missed_and_growth_before_the_warm_up_is_not() {
        assert_eq!(missed_with(|number, s| s.usage.fds += number as u64 / 60), ["FD growth"]);
        assert_eq!(missed_with(|number, s| s.usage.threads += u64::from(number > 80)), ["thread growth"]);
        assert_eq!(missed_with(|number, s| s.tasks = Some(if number > 80 { 5.0 } else { 4.0 })), ["task growth"]);
        assert_eq!(missed_with(|number, s| s.usage.rss += number as u64 * 60_000).len(), 1);
        assert!(missed_with(|number, s| s.usage.fds += u64::from(number > 20)).is_empty());
        let hammered = |number, s: &mut Sample| {
            if number > 80 && number < 85 {
                s.phase = Phase::Hammered;
                s.usage.fds += 40;
            }
        };
        assert!(missed_with(hammered).is_empty(), "connections of the harness are no growth");
    }

    #[test]
    fn a_metric_that_is_not_there_is_not_a_metric_that_is_zero() {
        assert_eq!(missed_with(|_, s| s.tasks = None), ["task growth"]);
        assert_eq!(missed_with(|_, s| s.reconcile_failures = None), ["rotations that did not reconcile"]);
        assert_eq!(missed_with(|_, s| s.connections = None), ["Docker API connections held"]);
        assert_eq!(missed_with(|_, s| s.active = None), ["active streams"]);
    }

    #[test]
    fn one_sample_is_enough_to_miss() {
        let once = |spoil: fn(&mut Sample)| {
            missed_with(move |number, s| {
                if number == 60 {
                    spoil(s);
                }
            })
        };
        assert_eq!(once(|s| s.connections = Some(3.0)), ["Docker API connections held"]);
        assert_eq!(once(|s| s.kernel_connections = 3), ["Docker API connections held"]);
        assert_eq!(once(|s| s.active = Some(3.0)), ["active streams"]);
        assert_eq!(once(|s| s.present = 1), ["active streams"]);
        assert_eq!(once(|s| s.dropped = 1.0), ["bytes lost or dropped, by reconciliation"]);
    }

    #[test]
    fn rotations_are_counted_by_container_minute_and_interval() {
        assert!(all(&flawless(), 0.0).iter().any(|bar| bar.bar == "≥ 36"), "2 containers, 2 a minute, 9 minutes");
        assert_eq!(missed_with(|_, s| s.rotations *= 0.8).len(), 1);
        assert_eq!(missed(|outcome| outcome.options.rotation_interval = Duration::from_secs(10)).len(), 1);
    }

    #[test]
    fn lines_that_are_missing_doubled_or_never_looked_at_are_missed() {
        assert_eq!(missed(|outcome| outcome.completeness.long_lived.missing = 1).len(), 1);
        assert_eq!(missed(|outcome| outcome.completeness.long_lived.doubled = 1).len(), 1);
        assert_eq!(missed(|outcome| outcome.completeness.long_lived.whole = 0).len(), 1);
        assert_eq!(missed(|outcome| outcome.completeness.torn = 1).len(), 1);
        assert_eq!(missed(|outcome| outcome.crashed = 0).len(), 1);
        assert_eq!(missed(|outcome| outcome.completeness.docker.only_docker = 1).len(), 2);
    }
}
