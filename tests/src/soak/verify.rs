//! Are all lines of a container there, each once and in its order? By the lines themselves, and by Docker's own log.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use capture_writers::paced::{MARK, Place, place_of};
use serde_json::Value;

/// What a container can write to.
pub(super) const STREAMS: [&str; 2] = ["stdout", "stderr"];

/// What the lines of one stream say about themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// Lines that are whole.
    pub whole: u64,
    /// Numbers that are left out.
    pub missing: u64,
    /// Lines that come after a later one of the same stream.
    pub doubled: u64,
    /// Pieces that are no line of this writer.
    pub garbled: u64,
    /// Runs without their last line: cut by a kill, or by the end of what was collected.
    pub cut: u64,
}

impl Lines {
    /// Reads what was collected of a stream. With `midway`, the collector began later than the container.
    pub(super) fn read(bytes: &[u8], stream: &str, seed: u64, midway: bool) -> Self {
        let mut lines = Self::default();
        let mut next = Place { run: 1, number: 0, last: false };
        let mut pieces = bytes.split(|&byte| byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            if pieces.peek().is_none() && piece.is_empty() {
                break;
            }
            match place(piece, stream, seed) {
                Some(place) if midway && lines.whole == 0 => next = lines.step(place, place),
                Some(place) => next = lines.step(next, place),
                None => lines.garbled += 1,
            }
        }
        lines.cut += u64::from(next.number > 0 || lines.whole == 0);
        lines
    }

    /// Compares a line with the one that should come, and gives the one that should come after it.
    fn step(&mut self, next: Place, place: Place) -> Place {
        if (place.run, place.number) < (next.run, next.number) {
            self.doubled += 1;
            return next;
        }
        self.whole += 1;
        if place.run == next.run {
            self.missing += place.number - next.number;
        } else {
            self.cut += u64::from(place.run - next.run);
            self.missing += place.number;
        }
        let Place { run, number, last } = place;
        if last { Place { run: run + 1, number: 0, last } } else { Place { number: number + 1, ..place } }
    }

    /// Both streams, or several containers, together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            whole: self.whole + other.whole,
            missing: self.missing + other.missing,
            doubled: self.doubled + other.doubled,
            garbled: self.garbled + other.garbled,
            cut: self.cut + other.cut,
        }
    }

    /// Whether every line is there once, but for the ends of runs that were killed.
    #[must_use]
    pub fn is_complete(self, killed: u64) -> bool {
        self.missing == 0 && self.doubled == 0 && self.garbled == 0 && self.cut <= killed
    }
}

/// Collected lines against Docker's own log of the same container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Streams that were compared.
    pub streams: u64,
    /// Those whose bytes are the same, from the first that Docker still has.
    pub identical: u64,
    /// Lines of Docker's log that were not collected.
    pub only_docker: u64,
    /// Collected lines that Docker's log has not, though it has earlier ones.
    pub only_ours: u64,
}

impl Comparison {
    /// Compares one stream.
    pub(super) fn of(ours: &[u8], docker: &[u8], stream: &str, seed: u64) -> Self {
        if ours.ends_with(docker) {
            return Self { streams: 1, identical: 1, ..Self::default() };
        }
        let places = |bytes: &[u8]| -> HashSet<(u32, u64)> {
            let lines = bytes.split(|&byte| byte == b'\n').filter_map(|line| place(line, stream, seed));
            lines.map(|place| (place.run, place.number)).collect()
        };
        let (ours, docker) = (places(ours), places(docker));
        let first = docker.iter().min().copied().unwrap_or_default();
        let only_docker = docker.difference(&ours).count() as u64;
        let only_ours = ours.difference(&docker).filter(|place| **place >= first).count() as u64;
        Self { streams: 1, identical: 0, only_docker, only_ours }
    }

    /// Several streams together.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            streams: self.streams + other.streams,
            identical: self.identical + other.identical,
            only_docker: self.only_docker + other.only_docker,
            only_ours: self.only_ours + other.only_ours,
        }
    }
}

/// The writer calls its streams `out` and `err`.
fn place(line: &[u8], stream: &str, seed: u64) -> Option<Place> {
    place_of(line, stream.trim_start_matches("std"), seed)
}

/// What a collector wrote: all containers' lines in one file for each stream, told apart by what the lines say.
///
/// So the collector holds two files however many containers there are, and its count of descriptors says something.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// By seed, and the place in [`STREAMS`].
    lines: HashMap<(u64, usize), Vec<u8>>,
    /// Pieces with parts of lines, which do not say whose they are.
    pub(super) torn: Vec<String>,
}

impl Collected {
    /// The path template for the collector.
    pub(super) fn template(directory: &Path) -> String {
        format!("{}/{{stream}}", directory.display())
    }

    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(super) fn read(directory: &Path) -> Result<Self> {
        let mut collected = Self::default();
        for (number, stream) in STREAMS.into_iter().enumerate() {
            let path = directory.join(stream);
            let mut file = BufReader::new(File::open(&path).with_context(|| format!("{}", path.display()))?);
            let mut line = Vec::new();
            while file.read_until(b'\n', &mut line)? > 0 {
                collected.take(number, &line);
                line.clear();
            }
        }
        Ok(collected)
    }

    /// The agent captures every container of the machine, so there may be output of others in the file, and before a line
    /// what another has begun and not ended.
    fn take(&mut self, stream: usize, piece: &[u8]) {
        let mut starts = marks(piece);
        let Some(start) = starts.next_back() else { return };
        let line = &piece[start..];
        let whose = seed_of(line);
        if starts.next().is_some() || whose.is_none() {
            self.torn.push(String::from_utf8_lossy(piece).into_owned());
        }
        if let Some(seed) = whose {
            self.lines.entry((seed, stream)).or_default().extend_from_slice(line);
        }
    }

    /// The lines of a container's stream, in their order; none where there are none.
    pub(super) fn bytes(&self, seed: u64, stream: &str) -> &[u8] {
        let number = STREAMS.iter().position(|name| *name == stream).unwrap_or_default();
        self.lines.get(&(seed, number)).map(Vec::as_slice).unwrap_or_default()
    }
}

/// The second word of a line.
fn seed_of(line: &[u8]) -> Option<u64> {
    std::str::from_utf8(line).ok()?.split(' ').nth(1)?.parse().ok()
}

/// Where lines of a soak begin.
fn marks(line: &[u8]) -> impl DoubleEndedIterator<Item = usize> {
    let starts = line.windows(MARK.len()).enumerate();
    starts.filter(|(_, bytes)| *bytes == MARK.as_bytes()).map(|(start, _)| start)
}

/// Reads a container's `json-file` log from the disk, its rotated files (`….log.N`, the highest the oldest) before it.
///
/// # Errors
/// When a file cannot be read, or a line is no entry.
pub(super) fn docker_log(path: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let rotated = (1..).map(|number| PathBuf::from(format!("{}.{number}", path.display())));
    let mut files: Vec<PathBuf> = rotated.take_while(|path| path.exists()).collect();
    files.reverse();
    files.push(path.to_owned());
    let mut text: BTreeMap<String, Vec<u8>> = STREAMS.map(|stream| (stream.to_owned(), Vec::new())).into();
    for file in files {
        for line in BufReader::new(File::open(&file).with_context(|| format!("{}", file.display()))?).split(b'\n') {
            let entry: Value = serde_json::from_slice(&line?).context("Docker's log has a line that is no JSON")?;
            let stream = entry["stream"].as_str().context("an entry of Docker's log has no stream")?;
            // Docker leaves `log` out where it is empty.
            let log = entry["log"].as_str().unwrap_or_default();
            text.entry(stream.to_owned()).or_default().extend_from_slice(log.as_bytes());
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use capture_writers::paced::line;

    use super::*;

    /// Lines of (run, number, last) as the writer makes them.
    fn text(places: &[(u32, u64, bool)]) -> Vec<u8> {
        places.iter().flat_map(|&(run, number, last)| line("out", 5, Place { run, number, last })).collect()
    }

    fn read(places: &[(u32, u64, bool)]) -> Lines {
        Lines::read(&text(places), "stdout", 5, false)
    }

    #[test]
    fn whole_runs_are_complete() {
        let lines = read(&[(1, 0, false), (1, 1, true), (2, 0, true)]);
        assert_eq!(lines, Lines { whole: 3, ..Lines::default() });
        assert!(lines.is_complete(0));
    }

    #[test]
    fn what_is_left_out_doubled_or_torn_counts() {
        assert_eq!(read(&[(1, 0, false), (1, 3, true)]).missing, 2);
        assert_eq!(read(&[(1, 1, true)]).missing, 1);
        assert_eq!(read(&[(1, 0, false), (1, 0, false), (1, 1, true)]).doubled, 1);
        let mut torn = text(&[(1, 0, false), (1, 1, true)]);
        torn.pop();
        torn.pop();
        let lines = Lines::read(&torn, "stdout", 5, false);
        assert_eq!((lines.garbled, lines.cut), (1, 1));
        assert_eq!(Lines::read(b"", "stdout", 5, false).cut, 1, "nothing at all is not complete");
    }

    #[test]
    fn a_killed_run_is_cut_and_a_run_that_is_not_there_is_too() {
        assert_eq!(read(&[(1, 0, false), (2, 0, true)]).cut, 1);
        assert_eq!(read(&[(1, 0, true), (3, 0, true)]).cut, 1);
        assert_eq!(read(&[(1, 0, false)]).cut, 1);
        assert!(read(&[(1, 0, false), (2, 0, true)]).is_complete(1));
    }

    #[test]
    fn who_comes_midway_misses_nothing_from_there() {
        let text = text(&[(1, 7, false), (1, 8, true)]);
        assert!(Lines::read(&text, "stdout", 5, true).is_complete(0));
        assert_eq!(Lines::read(&text, "stdout", 5, false).missing, 7);
    }

    #[test]
    fn lines_are_told_from_what_others_print_and_torn_ones_are_noticed() {
        let mut collected = Collected::default();
        let whole = text(&[(1, 0, false)]);
        let glued = [b"progress 12 %", whole.as_slice()].concat();
        for piece in [&whole, &glued, &b"17 bottles 5 1\n".to_vec()] {
            collected.take(0, piece);
        }
        assert_eq!(collected.bytes(5, "stdout"), [whole.as_slice(), &whole].concat());
        assert_eq!(collected.bytes(5, "stderr"), b"");
        assert!(collected.torn.is_empty());
        collected.take(0, &[&whole[..9], whole.as_slice()].concat());
        collected.take(0, b"soak-o\n");
        assert_eq!(collected.torn.len(), 2);
    }

    #[test]
    fn a_log_whose_begin_was_rotated_away_is_identical_and_a_longer_one_is_not() {
        let ours = text(&[(1, 0, false), (1, 1, false), (1, 2, true)]);
        let tail = text(&[(1, 1, false), (1, 2, true)]);
        assert_eq!(Comparison::of(&ours, &tail, "stdout", 5).identical, 1);
        let other = Comparison::of(&tail, &ours, "stdout", 5);
        assert_eq!((other.identical, other.only_docker, other.only_ours), (0, 1, 0));
        let holed = text(&[(1, 0, false), (1, 2, true)]);
        assert_eq!(Comparison::of(&ours, &holed, "stdout", 5).only_ours, 1);
    }
}
