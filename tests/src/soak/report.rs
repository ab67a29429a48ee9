//! How a soak is told: a line now and then, a table at the end, a page and a table of samples for the results.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result};

use super::{Outcome, Sample};

/// What [`progress`] shows.
pub(super) fn progress_head() {
    println!(
        "{:>7} {:<8} {:>5} {:>4} {:>7} {:>8} {:>7} {:>9} {:>9} {:>6} {:>7} {:>6} {:>7}",
        "s",
        "phase",
        "tasks",
        "FDs",
        "threads",
        "RSS KiB",
        "CPU s",
        "active",
        "rotations",
        "failed",
        "missing",
        "docker",
        "crashed"
    );
}

/// One line with the figures of now.
pub(super) fn progress(sample: &Sample, crashed: usize) {
    let usage = sample.usage;
    let existing = sample.existing.map_or_else(|| "?".to_owned(), |count| count.to_string());
    println!(
        "{:>7.0} {:<8} {:>5} {:>4} {:>7} {:>8} {:>7.2} {:>9} {:>9} {:>6} {:>7} {:>6} {crashed:>7}",
        sample.at,
        sample.phase.name(),
        number(sample.tasks),
        usage.fds,
        usage.threads,
        usage.rss / 1024,
        usage.cpu,
        format!("{}/{existing}", number(sample.active)),
        sample.rotations,
        number(sample.reconcile_failures),
        sample.missing_bytes(),
        number(sample.connections),
    );
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// The bars as a table in Markdown.
#[must_use]
pub fn table(outcome: &Outcome) -> String {
    let old = outcome.options.compare;
    let mut text = String::new();
    let head = if old { ["| old way ", "|---"] } else { ["", ""] };
    let _ = writeln!(text, "| what | bar | measured {}| ok |\n|---|---|---{}|---|", head[0], head[1]);
    for bar in &outcome.bars {
        let ok = if bar.met { "yes" } else { "**no**" };
        let old = if old { format!("| {} ", bar.old.as_deref().unwrap_or("-")) } else { String::new() };
        let _ = writeln!(text, "| {} | {} | {} {old}| {ok} |", bar.what, bar.bar, bar.measured);
    }
    text
}

/// What stands beside the bars: CPU time, the state at the end, errors, what happened.
#[must_use]
pub fn notes(outcome: &Outcome) -> String {
    let mut text = String::new();
    let mut say = |line: String| {
        let _ = writeln!(text, "- {line}");
    };
    if let Some((first, last)) = outcome.samples.first().zip(outcome.samples.last()) {
        let minutes = ((last.at - first.at) / 60.0).max(f64::MIN_POSITIVE);
        let usage = last.usage;
        say(format!(
            "At the end: {} tasks, {} FDs, {} threads, {:.1} MiB resident; {:.2} CPU seconds per minute.",
            number(last.tasks),
            usage.fds,
            usage.threads,
            mib(usage.rss),
            (usage.cpu - first.usage.cpu) / minutes
        ));
        if let Some((was, is)) = first.old.zip(last.old) {
            say(format!(
                "The old way at the end: {} tasks, {} FDs, {} threads, {:.1} MiB resident; {:.2} CPU seconds per minute.",
                is.tasks,
                is.usage.fds,
                is.usage.threads,
                mib(is.usage.rss),
                (is.usage.cpu - was.usage.cpu) / minutes
            ));
        }
        if let Some((alone, (was, is))) = outcome.dockerd_alone.zip(first.dockerd.zip(last.dockerd)) {
            // A restarted dockerd begins at 0 again.
            let with = if is.cpu < was.cpu { is.cpu } else { (is.cpu - was.cpu) / minutes };
            say(format!(
                "dockerd: {alone:.1} CPU seconds per minute with capture-agent alone, {with:.1} with the old way beside; \
                 its FDs went from {} to {}, its threads from {} to {}.",
                was.fds, is.fds, was.threads, is.threads
            ));
        }
        if last.others > 0.0 {
            say(format!(
                "Containers of others on the machine wrote {:.1} MiB meanwhile.",
                last.others / 1024.0 / 1024.0
            ));
        }
        let errors: Vec<_> = last.errors.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        say(format!("Stream errors: {}.", if errors.is_empty() { "none".to_owned() } else { errors.join(", ") }));
    }
    for (at, what) in &outcome.diary {
        say(format!("At {:.1} min: {what}.", at / 60.0));
    }
    for complaint in &outcome.completeness.complaints {
        say(format!("Not complete: {complaint}"));
    }
    text
}

/// Writes `<name>.md` and `<name>.csv` into `directory`; the page shows `<name>.svg` where there is one.
///
/// # Errors
/// When a file cannot be written.
pub fn write(outcome: &Outcome, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("{}", directory.display()))?;
    let name = outcome.options.name();
    for (ending, text) in [("md", page(outcome)), ("csv", samples(outcome))] {
        let path = directory.join(format!("{name}.{ending}"));
        fs::write(&path, text).with_context(|| format!("{}", path.display()))?;
    }
    Ok(())
}

fn page(outcome: &Outcome) -> String {
    let options = &outcome.options;
    let name = options.name();
    let minutes = options.length.as_secs_f64() / 60.0;
    let mut command = format!("cargo xtask soak --containers {} --minutes {minutes}", options.containers);
    for (is_on, flag) in [(options.compare, " --compare"), (options.faults, " --faults")] {
        command += if is_on { flag } else { "" };
    }
    if let Some(freeze) = options.freeze {
        let _ = write!(command, " --freeze {}", freeze.as_secs_f64() / 60.0);
    }
    let interval = options.rotation_interval.as_secs();
    let _ = write!(command, " --rotation-interval {interval}s");
    format!(
        "# Soak: {} containers, {minutes} minutes\n\n{}. Attach `{}`.\n\n`{command}`\n\n{} long-lived containers at mixed rates \
         (silent, a line each second, 200 lines a second, bursts of 5,000 lines), beside them crash loops: {} containers came and went, \
         two more were restarted by Docker. A sample each 5 s: [{name}.csv]({name}.csv). Growth is judged after the first {:.1} \
         minutes; a sample taken while the admin port is hammered does not count for it.\n\n{}\n{}\n![course]({name}.svg)\n",
        options.containers,
        outcome.machine,
        options.attach,
        options.containers,
        outcome.crashed,
        options.warm_up().as_secs_f64() / 60.0,
        table(outcome),
        notes(outcome),
    )
}

fn samples(outcome: &Outcome) -> String {
    let mut text = String::from(
        "seconds,phase,tasks,fds,threads,rss_bytes,cpu_seconds,active_streams,existing_containers,long_lived_present,rotations,\
         reconcile_failures,lost_bytes,dropped_bytes,stream_errors,docker_connections,kernel_connections,others_bytes,dockerd_cpu_seconds,dockerd_fds,\
         old_tasks,old_fds,old_threads,old_rss_bytes,old_cpu_seconds,old_streams\n",
    );
    let empty = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    for sample in &outcome.samples {
        let usage = sample.usage;
        let existing = sample.existing.map(|count| count.to_string()).unwrap_or_default();
        let dockerd = sample.dockerd.map_or_else(|| ",".to_owned(), |usage| format!("{},{}", usage.cpu, usage.fds));
        let old = sample.old.map_or_else(
            || ",,,,,".to_owned(),
            |old| {
                let usage = old.usage;
                let (tasks, streams) = (old.tasks, old.streams);
                format!("{tasks},{},{},{},{},{streams}", usage.fds, usage.threads, usage.rss, usage.cpu)
            },
        );
        let _ = writeln!(
            text,
            "{:.1},{},{},{},{},{},{},{},{existing},{},{},{},{},{},{},{},{},{},{dockerd},{old}",
            sample.at,
            sample.phase.name(),
            empty(sample.tasks),
            usage.fds,
            usage.threads,
            usage.rss,
            usage.cpu,
            empty(sample.active),
            sample.present,
            sample.rotations,
            empty(sample.reconcile_failures),
            sample.lost,
            sample.dropped,
            sample.errors.values().fold(0.0, |sum, count| sum + count),
            empty(sample.connections),
            sample.kernel_connections,
            sample.others,
        );
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}
