//! The page of results.

use std::fmt::Write as _;

use super::Timed;
use super::calls::Operation;
use super::figures::{Figures, Place, Setting};
use super::probes::Program;
use crate::Attach;
use crate::bench::chart::Bars;

/// A ratio that is not to be exceeded.
struct Bar {
    what: &'static str,
    setting: Setting,
    /// The setting that shows what cannot be undercut.
    limit: Setting,
    place: Place,
    operation: Operation,
    ratio: f64,
}

const BARS: [Bar; 8] = [
    bar("captured pipe write+read, 100 B, `raw`", Setting::Raw, Place::Container, Operation::Output100, 2.0),
    bar("captured pipe write+read, 8 KiB, `raw`", Setting::Raw, Place::Container, Operation::Output8k, 2.2),
    bar("captured pipe write+read, 100 B, `syscalls`", Setting::Syscalls, Place::Container, Operation::Output100, 2.0),
    bar("captured pipe write+read, 8 KiB, `syscalls`", Setting::Syscalls, Place::Container, Operation::Output8k, 2.2),
    bar("unrelated call (`getppid`), `syscalls`", Setting::Syscalls, Place::Host, Operation::Getppid, 1.3),
    bar("write of a task in no container, `syscalls`", Setting::Syscalls, Place::Host, Operation::WriteNull, 2.0),
    bar("unrelated call (`getppid`), `raw`", Setting::Raw, Place::Host, Operation::Getppid, 1.55),
    bar("write of a task in no container, `raw`", Setting::Raw, Place::Host, Operation::WriteNull, 1.8),
];

const fn bar(what: &'static str, setting: Setting, place: Place, operation: Operation, ratio: f64) -> Bar {
    let limit = match (place, setting) {
        (Place::Container, Setting::Raw) => Setting::AccountRaw,
        (Place::Container, _) => Setting::AccountSyscalls,
        (_, Setting::Raw) if matches!(operation, Operation::WriteNull) => Setting::WhoseRaw,
        (_, Setting::Raw) => Setting::EmptyRaw,
        _ => Setting::EmptySyscalls,
    };
    Bar { what, setting, limit, place, operation, ratio }
}

/// Rows of the table: what it is called, what is attached, where it runs, whether fd 1 is meant.
const ROWS: [(&str, Setting, Place, bool); 15] = [
    ("nothing attached", Setting::Nothing, Place::Host, false),
    ("`raw`: empty programs on the same hooks", Setting::EmptyRaw, Place::Host, false),
    ("the same, but the one on the exit asks which task a write is of", Setting::WhoseRaw, Place::Host, false),
    ("empty program on the exit alone", Setting::EmptyExit, Place::Host, false),
    ("a program on the exit that only copies fd 1", Setting::CopyOnly, Place::Host, true),
    ("the same, and an empty program on the entry", Setting::CopyRaw, Place::Host, true),
    (
        "the same, and the one on the exit asks which cgroup's it is, stamps and counts it",
        Setting::AccountRaw,
        Place::Host,
        true,
    ),
    ("`raw`, not a container", Setting::Raw, Place::Host, false),
    ("`raw`, container, not its output", Setting::Raw, Place::Container, false),
    ("`raw`, captured", Setting::Raw, Place::Container, true),
    ("`syscalls`: empty programs on the same hooks", Setting::EmptySyscalls, Place::Host, false),
    (
        "one on the exit of `write` that asks which cgroup's it is, copies, stamps and counts it",
        Setting::AccountSyscalls,
        Place::Host,
        true,
    ),
    ("`syscalls`, not a container", Setting::Syscalls, Place::Host, false),
    ("`syscalls`, container, not its output", Setting::Syscalls, Place::Container, false),
    ("`syscalls`, captured", Setting::Syscalls, Place::Container, true),
];

/// Columns, each as anyone's pipe and as the output.
const COLUMNS: [(&str, Operation, Option<Operation>); 5] = [
    ("getppid", Operation::Getppid, None),
    ("write to /dev/null", Operation::WriteNull, None),
    ("read of /dev/zero", Operation::ReadZero, None),
    ("pipe write+read, 100 B", Operation::Pipe100, Some(Operation::Output100)),
    ("pipe write+read, 8 KiB", Operation::Pipe8k, Some(Operation::Output8k)),
];

pub(super) fn render(
    machine: &str,
    rounds: u32,
    figures: &Figures,
    sizes: &[(Attach, Vec<Program>)],
    timed: &[Timed],
) -> String {
    let mut page = format!(
        "# Overhead\n\n{machine} Written by `cargo xtask bench overhead`.\n\n\
         The fastest of many samples of {rounds} rounds over all settings in turn; ns for one call (for a pipe, one write and\n\
         one read), and its ratio to the same call with nothing attached. The measured program has a CPU to itself and is the\n\
         same in every row; the agent reads on another CPU, writes records to `/dev/null`, and has lost nothing.\n\n"
    );
    calls(&mut page, figures);
    bars(&mut page, figures);
    programs(&mut page, sizes, timed);
    page
}

/// What is held against the bars, each beside what cannot be undercut.
pub(super) fn plot(figures: &Figures) -> Bars {
    let mut bars = Bars::new("times the same call with nothing attached");
    for Bar { what, setting, limit, place, operation, .. } in BARS {
        for (name, ratio) in [
            (what, figures.ratio(setting, place, operation)),
            ("    limit", figures.ratio(limit, Place::Host, operation)),
        ] {
            if let Some(ratio) = ratio {
                bars.add(&name.replace('`', ""), ratio.best);
            }
        }
    }
    bars
}

fn calls(page: &mut String, figures: &Figures) {
    let titles = COLUMNS.map(|(title, ..)| title).join(" | ");
    let _ = writeln!(page, "| | {titles} |\n|---|{}", "---|".repeat(COLUMNS.len()));
    for (title, setting, place, is_output) in ROWS {
        let cells = COLUMNS.map(|(_, plain, output)| {
            let operation = if is_output { output } else { Some(plain) };
            let measured = operation.and_then(|operation| {
                Some((figures.best(setting, place, operation)?, figures.ratio(setting, place, operation)?))
            });
            match measured {
                Some((best, _)) if setting == Setting::Nothing => format!("{best:.0}"),
                Some((best, ratio)) => format!("{best:.0} ({:.2}×)", ratio.best),
                None => String::new(),
            }
        });
        let _ = writeln!(page, "| {title} | {} |", cells.join(" | "));
    }
}

fn bars(page: &mut String, figures: &Figures) {
    let _ = writeln!(
        page,
        "\n## Against the bars\n\n“Median” is over the rounds, of the ratio within a round; “limit” is what cannot be \
         undercut: programs\nthat return at once on the same hooks; for a write in `raw`, one on the exit that asks for its task and \
         nothing else; and for\nwhat is captured, one on the same hooks that copies the bytes into a ring buffer with the head of a record and the two \
         counts that\ntelling containers apart and counting every byte take, and a reader that takes them out. It asks for the cgroup by a call, where the \
         agent\nhas loads, and not at all for the file that a descriptor stands for.\n\n\
         | | bar | best | median | limit | |\n|---|---|---|---|---|---|"
    );
    for Bar { what, setting, limit, place, operation, ratio: bar } in BARS {
        let Some(ratio) = figures.ratio(setting, place, operation) else { continue };
        let empty = figures.ratio(limit, Place::Host, operation);
        let empty = empty.map(|empty| format!("{:.2}×", empty.best)).unwrap_or_default();
        let verdict = if ratio.best <= bar { "met" } else { "not met" };
        let _ = writeln!(page, "| {what} | {bar}× | {:.2}× | {:.2}× | {empty} | {verdict} |", ratio.best, ratio.median);
    }
    let rooms: Vec<String> = BARS
        .iter()
        .filter(|bar| bar.operation == Operation::Output8k)
        .filter_map(|bar| beside_the_copy(bar, figures))
        .collect();
    let _ = writeln!(
        page,
        "\nBeside the copy there is whose a write is, when it was, where in its stream it stands, and the account of its bytes. In ns:\n\
         {}.",
        rooms.join("; ")
    );
    if let Some(room) = beside_the_hooks(figures) {
        let _ = writeln!(page, "{room}");
    }
}

/// What a captured write takes beside its copy where that is short, and what the bar leaves for it where it is long.
fn beside_the_copy(long: &Bar, figures: &Figures) -> Option<String> {
    let copy = match long.setting {
        Setting::Raw => Setting::CopyRaw,
        _ => Setting::CopyOnly,
    };
    let copy = |operation| figures.best(copy, Place::Host, operation);
    let takes = figures.best(long.setting, Place::Container, Operation::Output100)? - copy(Operation::Output100)?;
    let nothing = figures.best(Setting::Nothing, Place::Host, long.operation)?;
    let leaves = long.ratio * nothing - copy(long.operation)?;
    let together = (copy(long.operation)? + takes) / nothing;
    let attach = long.setting.attach()?.flag();
    Some(format!(
        "`{attach}`, {takes:.0} with 100 B, and the bar of {}× leaves {leaves:.0} with 8 KiB: the copy of those and as much as with 100 B are \
         {together:.2}×",
        long.ratio
    ))
}

/// What `raw` takes of an unrelated call beside its hooks, and what its bar leaves.
fn beside_the_hooks(figures: &Figures) -> Option<String> {
    let call = Operation::Getppid;
    let bar = BARS.iter().find(|bar| (bar.setting, bar.operation) == (Setting::Raw, call))?;
    let best = |setting| figures.best(setting, Place::Host, call);
    let (nothing, empty, takes) = (best(Setting::Nothing)?, best(bar.limit)?, best(bar.setting)?);
    Some(format!(
        "Beside hooks whose programs return at once, an unrelated call in `raw` takes {:.1} ns to find out that it is one, on entry and exit together; \
         the bar of\n{}× leaves {:.1}.",
        takes - empty,
        bar.ratio,
        bar.ratio * nothing - empty
    ))
}

fn programs(page: &mut String, sizes: &[(Attach, Vec<Program>)], timed: &[Timed]) {
    let _ = writeln!(
        page,
        "\n## Programs\n\nFrom `bpf_prog_info`: instructions that the verifier went through over all paths, bytes of the program \
         after it, bytes of\nmachine code.\n\n| program | attach | verified | translated | machine code |\n|---|---|---|---|---|"
    );
    for (attach, programs) in sizes {
        for Program { name, verified, translated, jited, .. } in programs {
            let _ = writeln!(page, "| `{name}` | {} | {verified} | {translated} | {jited} |", attach.flag());
        }
    }
    let _ = writeln!(
        page,
        "\nMean run time with the kernel's statistics on, in a pass of its own because they cost time (about two readings of the \
         clock\nfor each run, which are in the figures). Runs of other processes on the host meanwhile are among them.\n\n\
         | attach | call | where | program | runs | ns |\n|---|---|---|---|---|---|"
    );
    for Timed { attach, place, operation, programs } in timed {
        // Those that ran by chance only are left out.
        for (name, runs, time) in programs.iter().filter(|(_, runs, _)| *runs > 100) {
            let mean = time.as_nanos() / u128::from(*runs);
            let (attach, call) = (attach.flag(), operation.name());
            let place = if *place == Place::Host { "no container" } else { "container" };
            let _ = writeln!(page, "| {attach} | {call} | {place} | `{name}` | {runs} | {mean} |");
        }
    }
}
