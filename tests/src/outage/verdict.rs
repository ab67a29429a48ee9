//! The figures of an outage against what they have to be.

use std::collections::BTreeMap;
use std::time::Duration;

use capture_writers::numbered;

use super::arrivals::Arrivals;
use super::missing::{Missing, ON_ITS_WAY};
use super::{Bar, Buffers, Delivered, Outcome, count};

/// The furthest that another sink may be behind, in seconds.
const BEHIND: f64 = 1.0;
/// The part of their pace that containers have to keep.
const PACE: f64 = 0.999;
/// The furthest behind its schedule that a container may ever be.
const LATE: Duration = Duration::from_secs(1);

/// All of them.
pub(super) fn bars(outcome: &Outcome) -> Vec<Bar> {
    let mut bars = vec![Bar::new("lines written", "> 0", outcome.written(), outcome.written() > 0)];
    for delivered in &outcome.delivered {
        bars.extend(match outcome.options.buffers {
            Buffers::Disk => kept(outcome, delivered),
            Buffers::Memory(_) => counted(outcome, delivered),
        });
        bars.extend(always(delivered));
    }
    bars.extend(match outcome.options.buffers {
        Buffers::Disk => vec![restarts(outcome)],
        Buffers::Memory(_) => vec![by_container(outcome)],
    });
    bars.extend(beside(outcome));
    bars.extend(pace(outcome));
    bars
}

/// What a buffer on disk has to keep.
fn kept(outcome: &Outcome, Delivered { sink, arrivals, dropped, .. }: &Delivered) -> Vec<Bar> {
    let missing = missing(outcome, arrivals);
    vec![
        Bar::zero(&format!("{sink}: lines missing that were written while an agent captured"), missing.lost),
        Bar::new(
            &format!("{sink}: lines missing that were on their way to the disk at `kill -9`, oldest before the kill"),
            &format!("≤ {} ms", ON_ITS_WAY.as_millis()),
            format!("{}, {:.1} ms", missing.on_their_way, missing.oldest.as_secs_f64() * 1000.0),
            missing.oldest <= ON_ITS_WAY,
        ),
        Bar::told(&format!("{sink}: lines missing that were written while no agent ran"), missing.uncaptured),
        Bar::zero(&format!("{sink}: records dropped, as the last agent counts them"), sum(dropped)),
    ]
}

/// What a queue in memory has to have counted.
fn counted(outcome: &Outcome, Delivered { sink, arrivals, dropped, .. }: &Delivered) -> Vec<Bar> {
    let missing: Vec<_> = missing_lines(outcome, arrivals).collect();
    let (lines, dropped) = (missing.len() as u64, sum(dropped));
    let bytes = bytes_by_container(outcome, missing.iter().copied());
    let marked: BTreeMap<_, _> = arrivals.marked.iter().filter(|(id, _)| bytes.contains_key(*id)).collect();
    let marked_lines = bytes.iter().filter(|(id, bytes)| marked.get(id) != Some(bytes)).count();
    vec![
        Bar::new(
            &format!("{sink}: lines missing = records that the sink says it dropped"),
            "equal, > 0",
            format!("{lines} = {dropped}"),
            lines == dropped && lines > 0,
        ),
        Bar::zero(
            &format!("{sink}: containers whose missing bytes the marks in the output do not tell"),
            marked_lines as u64,
        ),
    ]
}

/// What has to hold of whatever arrives.
fn always(Delivered { sink, arrivals, passed_in_outage, .. }: &Delivered) -> Vec<Bar> {
    vec![
        Bar::told(&format!("{sink}: lines that arrived, and how often one came again"), {
            format!("{}, {}", arrivals.distinct(), arrivals.doubled())
        }),
        Bar::zero(&format!("{sink}: lines out of their container's order"), arrivals.out_of_order()),
        Bar::zero(&format!("{sink}: `log.record.uid` of two lines, or lines with two"), arrivals.confused),
        Bar::zero(&format!("{sink}: bytes that reached the destination in the outage"), *passed_in_outage),
    ]
}

fn restarts(outcome: &Outcome) -> Bar {
    let away = outcome.deaths.iter().map(|death| Duration::from_nanos(death.capturing - death.killed).as_secs_f64());
    let away: Vec<_> = away.map(|seconds| format!("{seconds:.2}")).collect();
    let met = outcome.deaths.len() == 2;
    Bar::new(
        "`kill -9`, seconds until the next agent captured",
        "2",
        format!("{}: {}", away.len(), away.join(", ")),
        met,
    )
}

/// Bytes that each container is said to miss, against those that it misses at one destination or another.
fn by_container(outcome: &Outcome) -> Bar {
    let everywhere = outcome.delivered.iter().map(|delivered| &delivered.arrivals).chain([&outcome.file]);
    let mut missing: Vec<_> = everywhere.flat_map(|arrivals| missing_lines(outcome, arrivals)).collect();
    missing.sort_unstable();
    missing.dedup();
    let bytes = bytes_by_container(outcome, missing);
    let told = |id: &str| outcome.dropped_bytes.get(id).map_or(0, |bytes| count(*bytes));
    let wrong = outcome.ids.values().filter(|id| told(id) != bytes.get(*id).copied().unwrap_or_default()).count();
    let (lost, said) = (bytes.values().sum::<u64>(), outcome.ids.values().map(|id| told(id)).sum::<u64>());
    Bar::new(
        "bytes missing anywhere = `log_capturer_dropped_bytes_total`, for each container",
        "equal",
        format!("{lost} = {said}; {wrong} of {} containers differ", outcome.ids.len()),
        wrong == 0 && lost == said,
    )
}

/// The sink beside.
fn beside(outcome: &Outcome) -> Vec<Bar> {
    let missing = missing(outcome, &outcome.file);
    let oldest = outcome.samples.iter().filter_map(|sample| sample.oldest.get("beside").copied()).reduce(f64::max);
    let age = outcome.samples.iter().filter_map(|sample| sample.file_age).reduce(f64::max);
    let seconds = |most: Option<f64>| most.map_or_else(|| "no samples".to_owned(), |most| format!("{most:.3}"));
    let is_close = |most: Option<f64>| most.is_some_and(|most| most <= BEHIND);
    vec![
        Bar::new(
            "other sink: furthest behind, s, as the agent tells it",
            &format!("≤ {BEHIND}"),
            format!("{} in {} samples", seconds(oldest), outcome.samples.len()),
            is_close(oldest),
        ),
        Bar::new(
            "other sink: age of the newest line in its file, s",
            &format!("≤ {BEHIND}"),
            seconds(age),
            is_close(age),
        ),
        Bar::zero("other sink: lines missing that were written while an agent captured", missing.lost),
        Bar::told(
            "other sink (in memory): lines missing that were on their way at `kill -9`; while no agent ran",
            format!("{}; {}", missing.on_their_way, missing.uncaptured),
        ),
        Bar::zero("other sink: lines doubled", outcome.file.doubled()),
    ]
}

/// Whether the containers ran as if nothing was wrong.
#[expect(clippy::cast_precision_loss, reason = "lines of a run are far below 2^52")]
fn pace(outcome: &Outcome) -> Vec<Bar> {
    let reports = || outcome.reports.values();
    let rate = outcome.options.rate as f64;
    let kept = reports().map(|report| report.lines as f64 / (report.active.as_secs_f64() * rate));
    let slowest = kept.fold(f64::INFINITY, f64::min);
    let latest = reports().map(|report| report.latest).max().unwrap_or_default();
    let longest = reports().map(|report| report.longest_write).max().unwrap_or_default();
    let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
    vec![
        Bar::new(
            "slowest container, part of its pace",
            &format!("≥ {PACE}"),
            format!("{slowest:.4}"),
            slowest >= PACE && slowest.is_finite(),
        ),
        Bar::new(
            "furthest that a container was behind its schedule, ms; its longest `write`",
            &format!("≤ {}", LATE.as_millis()),
            format!("{:.0}; {:.0}", ms(latest), ms(longest)),
            latest <= LATE,
        ),
    ]
}

fn missing_lines<'a>(outcome: &'a Outcome, arrivals: &'a Arrivals) -> impl Iterator<Item = (u64, u32)> + 'a {
    let of = |(seed, report): (&u64, &numbered::Report)| (*seed, arrivals.missing(*seed, report.lines));
    outcome.reports.iter().map(of).flat_map(|(seed, numbers)| numbers.into_iter().map(move |number| (seed, number)))
}

fn missing(outcome: &Outcome, arrivals: &Arrivals) -> Missing {
    let times = missing_lines(outcome, arrivals).map(|line| outcome.times.get(&line).copied());
    Missing::of(times, &outcome.deaths)
}

fn bytes_by_container(outcome: &Outcome, lines: impl IntoIterator<Item = (u64, u32)>) -> BTreeMap<String, u64> {
    let mut bytes = BTreeMap::new();
    for (seed, number) in lines {
        let id = outcome.ids.get(&seed).cloned().unwrap_or_default();
        *bytes.entry(id).or_default() += numbered::length(seed, number);
    }
    bytes
}

fn sum(dropped: &BTreeMap<String, f64>) -> u64 {
    count(dropped.values().sum())
}
