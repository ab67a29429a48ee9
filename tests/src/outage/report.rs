//! How an outage is told.

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

use super::{Bar, Buffers, Outcome};

/// Bars as a table in Markdown.
#[must_use]
pub fn table(bars: &[Bar]) -> String {
    let mut text = String::from("| what | bar | measured | ok |\n|---|---|---|---|\n");
    for Bar { what, bar, measured, met } in bars {
        let ok = match (met, bar.is_empty()) {
            (true, true) => "",
            (true, false) => "yes",
            (false, _) => "**no**",
        };
        let _ = writeln!(text, "| {what} | {bar} | {measured} | {ok} |");
    }
    text
}

/// What happened when.
#[must_use]
pub fn notes(outcome: &Outcome) -> String {
    let mut text = String::new();
    for (at, what) in &outcome.diary {
        let _ = writeln!(text, "- {at:.1} s: {what}.");
    }
    let most = |of: fn(&super::Sample) -> f64| outcome.samples.iter().map(of).fold(0.0, f64::max);
    let queued = most(|sample| sample.queued.values().sum());
    let _ = writeln!(text, "- At most {queued} records waited.");
    text
}

/// The section of a page.
#[must_use]
pub fn section(outcome: &Outcome) -> String {
    let options = &outcome.options;
    let minutes = options.outage.as_secs_f64() / 60.0;
    let (title, flag) = match options.buffers {
        Buffers::Disk => ("With a buffer on disk, and the agent killed twice".to_owned(), String::new()),
        Buffers::Memory(bytes) => (format!("With queues in memory of {bytes} bytes"), " --memory".to_owned()),
    };
    format!(
        "## {title}\n\n{}. `cargo xtask outage --minutes {minutes} --containers {} --rate {}{flag}`\n\n{}\n{}\n",
        outcome.machine,
        options.containers,
        options.rate,
        table(&outcome.bars()),
        notes(outcome)
    )
}

/// Puts a section into a page, in place of one with the same heading.
///
/// # Errors
/// When the page cannot be read or written.
pub fn write(page: &Path, introduction: &str, section: &str) -> io::Result<()> {
    let old = match fs::read_to_string(page) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text?,
    };
    let heading = section.lines().next().unwrap_or_default();
    let begin = format!("\n{heading}\n");
    let kept = match old.split_once(&begin) {
        None if old.is_empty() => introduction.to_owned(),
        None => old,
        Some((before, rest)) => {
            let after = rest.find("\n## ").map_or("", |next| &rest[next + 1..]);
            format!("{}\n\n{after}", before.trim_end())
        }
    };
    fs::write(page, format!("{}\n\n{}\n", kept.trim_end(), section.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_takes_the_place_of_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let page = directory.path().join("page.md");
        for section in ["## One\n\nfirst", "## Two\n\nsecond", "## One\n\nthird"] {
            write(&page, "# Title\n\nWhat it is.", section).unwrap();
        }
        let text = fs::read_to_string(&page).unwrap();
        assert_eq!(text, "# Title\n\nWhat it is.\n\n## Two\n\nsecond\n\n## One\n\nthird\n");
    }

    #[test]
    fn a_bar_that_is_missed_stands_out() {
        let bars = [Bar::zero("a", 0), Bar::zero("b", 2), Bar::told("c", 5)];
        let table = table(&bars);
        assert!(table.ends_with("| a | 0 | 0 | yes |\n| b | 0 | 2 | **no** |\n| c |  | 5 |  |\n"), "{table}");
    }
}
