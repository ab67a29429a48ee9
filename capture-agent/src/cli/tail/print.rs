//! Records on a terminal, or for another program.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write as _};

use serde::Deserialize;

use super::safe;

/// A column of names is no wider than this.
const WIDEST: usize = 32;
/// Hues of names: bright, and none of them red, which is for what is wrong.
const HUES: [u8; 10] = [36, 33, 32, 35, 34, 96, 93, 92, 95, 94];

/// Writes records to standard output, and notes to standard error.
pub(super) struct Printer {
    out: BufWriter<StdoutLock<'static>>,
    is_json: bool,
    is_terminal: bool,
    color: bool,
    width: usize,
}

/// What of a record is shown.
#[derive(Debug, Deserialize)]
struct Shown<'a> {
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    container_id: Cow<'a, str>,
    #[serde(borrow, default)]
    container_name: Cow<'a, str>,
    lost_bytes: Option<u64>,
}

impl Printer {
    pub(super) fn new(is_json: bool) -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        // https://no-color.org
        let color = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { out: BufWriter::with_capacity(64 << 10, stdout.lock()), is_json, is_terminal, color, width: 0 }
    }

    /// Makes room for names.
    pub(super) fn align(&mut self, names: &[String]) {
        self.width = names.iter().map(|name| name.chars().count()).fold(self.width, usize::max).min(WIDEST);
    }

    pub(super) fn record(&mut self, json: &[u8]) -> io::Result<()> {
        if self.is_json {
            self.out.write_all(json)?;
            return self.out.write_all(b"\n");
        }
        let Ok(shown) = serde_json::from_slice::<Shown<'_>>(json) else { return Ok(()) };
        let id = shown.container_id.get(..12).unwrap_or(&shown.container_id);
        let name = if shown.container_name.is_empty() { id } else { &shown.container_name };
        let name = safe::text(name);
        self.width = self.width.max(name.chars().count()).min(WIDEST);
        let message = if self.is_terminal { safe::text(&shown.message) } else { Cow::Borrowed(&*shown.message) };
        let (is_stderr, is_gap) = (shown.stream == "stderr", shown.lost_bytes.is_some());
        let width = self.width;
        if !self.color {
            let mark = if is_stderr { '!' } else { '|' };
            return writeln!(self.out, "{name:width$} {mark} {message}");
        }
        let hue = hue(&name);
        let mark = if is_stderr { 31 } else { 90 };
        let (begin, end) = if is_gap { ("\x1b[1;31m", "\x1b[0m") } else { ("", "\x1b[0m") };
        writeln!(self.out, "\x1b[{hue}m{name:width$}\x1b[0m \x1b[{mark}m|\x1b[0m {begin}{message}{end}")
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Says something that no container said, after what came before it.
    pub(super) fn note(&mut self, text: &str) {
        // Where nobody reads the lines any more, the next one tells.
        let _ = self.out.flush();
        eprintln!("capture-agent: {text}");
    }
}

/// The same for a name at any time (FNV-1a).
fn hue(name: &str) -> u8 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    HUES[hash as usize % HUES.len()]
}
