//! How severe a line says it is.

use serde_json::Value;

use super::Fields;
use crate::pipeline::record::Level;

/// Names of the field that says it, by the libraries that write it so: most; logrus and zerolog; Google's; Python;
/// Elastic's common schema; Serilog.
const NAMES: [&str; 7] = ["level", "lvl", "severity", "levelname", "log.level", "loglevel", "@l"];
/// How much of a line is looked at: a level stands before what it is the level of.
const LOOKED_AT: usize = 160;

/// The level among the fields of a line.
pub(super) fn of_fields(fields: &Fields) -> Option<Level> {
    let is_level = |name: &str| NAMES.iter().any(|known| known.eq_ignore_ascii_case(name));
    fields.iter().filter(|(name, _)| is_level(name)).find_map(|(_, value)| match value {
        Value::String(text) => of_name(text.trim().as_bytes()).or_else(|| text.trim().parse().ok().and_then(of_number)),
        Value::Number(number) => number.as_u64().and_then(of_number),
        _ => None,
    })
}

/// Below ten the numbers of syslog (RFC 5424, section 6.2.1), from there on those of bunyan and pino.
fn of_number(number: u64) -> Option<Level> {
    match number {
        10..20 => Some(Level::Trace),
        7 | 20..30 => Some(Level::Debug),
        5 | 6 | 30..40 => Some(Level::Info),
        4 | 40..50 => Some(Level::Warn),
        3 | 50..60 => Some(Level::Error),
        0..=2 | 60..=100 => Some(Level::Fatal),
        _ => None,
    }
}

/// A level by one of the names that stand in a field, in any case.
fn of_name(name: &[u8]) -> Option<Level> {
    let (lower, length) = lowercase(name)?;
    let name = &lower[..length];
    of_plain_name(name).or(match name {
        b"finest" | b"finer" | b"verbose" | b"vrb" | b"silly" | b"trce" => Some(Level::Trace),
        b"fine" | b"dbug" | b"debug1" | b"debug2" | b"debug3" | b"debug4" | b"debug5" => Some(Level::Debug),
        b"information" | b"informational" | b"config" | b"log" | b"note" | b"success" => Some(Level::Info),
        b"fail" => Some(Level::Error),
        b"alert" | b"emergency" | b"dpanic" => Some(Level::Fatal),
        _ => None,
    })
}

/// A level by one of its names that mean little else, in lower case.
fn of_plain_name(name: &[u8]) -> Option<Level> {
    match name {
        // The four letters are those of logrus on a terminal.
        b"trace" | b"trc" | b"trac" => Some(Level::Trace),
        b"debug" | b"dbg" | b"debu" => Some(Level::Debug),
        b"info" | b"inf" | b"notice" => Some(Level::Info),
        b"warn" | b"wrn" | b"warning" => Some(Level::Warn),
        b"error" | b"err" | b"erro" | b"severe" => Some(Level::Error),
        b"fatal" | b"ftl" | b"fata" | b"critical" | b"crit" | b"emerg" | b"panic" => Some(Level::Fatal),
        _ => None,
    }
}

/// In lower case, and its length; `None` for what is longer than any name.
fn lowercase(name: &[u8]) -> Option<([u8; 13], usize)> {
    let mut lower = [0; 13];
    let text = lower.get_mut(..name.len())?;
    text.copy_from_slice(name);
    text.make_ascii_lowercase();
    Some((lower, name.len()))
}

/// The level in a text: the first word that is the name of one and stands as one.
///
/// That is a word in capitals (`ERROR`), in brackets (`[error]`), the value of a field that is called so (`level=warn`,
/// `"level":"warn"`), or one before a colon at the beginning (`error: …`, `Warning: …`).
pub(super) fn of_text(line: &[u8]) -> Option<Level> {
    let line = &line[..line.len().min(LOOKED_AT)];
    let prefix = of_prefix(line);
    if prefix.is_some() {
        return prefix;
    }
    let (mut end, mut is_first) = (0, true);
    loop {
        let start = end + line[end..].iter().position(|byte| byte.is_ascii_alphabetic() || *byte == ESCAPE)?;
        if line[start] == ESCAPE {
            // A colour: `ESC [ 31 m`.
            end = start + line[start..].iter().position(u8::is_ascii_alphabetic)? + 1;
            continue;
        }
        let is_of_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii();
        // After a colour or a colon a word begins anew.
        let before = if start == end { Some(b' ') } else { line[..start].last().copied() };
        end = start + line[start..].iter().position(|byte| !is_of_word(byte)).unwrap_or(line.len() - start);
        let word = Word { text: &line[start..end], before, rest: &line[end..], is_first };
        let level = word.level();
        if level.is_some() {
            return level;
        }
        is_first = false;
    }
}

const ESCAPE: u8 = 0x1b;

/// `<3>` of the journal and of syslog, where the facility is a part of it; `E0101 12:00:00.000000` of glog and klog.
fn of_prefix(line: &[u8]) -> Option<Level> {
    if let [b'<', rest @ ..] = line {
        let end = rest.iter().take(4).position(|byte| *byte == b'>')?;
        let number: u64 = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
        return (number < 192).then(|| of_number(number & 7)).flatten();
    }
    let (date, time) = (line.get(1..5)?, line.get(6..8)?);
    if line[5] != b' ' || line.get(8) != Some(&b':') || !date.iter().chain(time).all(u8::is_ascii_digit) {
        return None;
    }
    match line[0] {
        b'I' => Some(Level::Info),
        b'W' => Some(Level::Warn),
        b'E' => Some(Level::Error),
        b'F' => Some(Level::Fatal),
        _ => None,
    }
}

/// A word of a line.
struct Word<'a> {
    text: &'a [u8],
    before: Option<u8>,
    rest: &'a [u8],
    is_first: bool,
}

impl Word<'_> {
    fn level(&self) -> Option<Level> {
        let (lower, length) = lowercase(self.text)?;
        let name = &lower[..length];
        let after = self.rest.first().copied();
        if NAMES.iter().any(|known| known.as_bytes() == name)
            && let level @ Some(_) = of_value(self.rest)
        {
            return level;
        }
        let is_in_brackets = matches!(self.before, Some(b'[' | b':')) && after == Some(b']');
        // In the words before the message, not in it.
        let is_heading = self.is_first && matches!(self.before, None | Some(b' ')) && after == Some(b':');
        if is_in_brackets || is_heading {
            return of_name(self.text);
        }
        let stands_alone = matches!(self.before, None | Some(b' ' | b'\t' | b'[' | b'(' | b'|' | b'<' | b':'))
            && matches!(after, None | Some(b' ' | b'\t' | b']' | b')' | b'|' | b'>' | b':' | b',' | b'[' | ESCAPE));
        // Monolog's channel: `production.ERROR: …`.
        let is_of_channel = self.before == Some(b'.') && after == Some(b':');
        if !(stands_alone || is_of_channel) || !self.text.iter().all(u8::is_ascii_uppercase) {
            return None;
        }
        // PostgreSQL's own is an ordinary word elsewhere.
        of_plain_name(name).or_else(|| (name == b"log" && after == Some(b':')).then_some(Level::Info))
    }
}

/// The level that is the value of a field whose name ends before `rest`: `=warn`, `":"warn"`, `": 30`.
fn of_value(rest: &[u8]) -> Option<Level> {
    let start = rest.iter().position(|byte| !matches!(byte, b'"' | b'\'' | b'=' | b':' | b' '))?;
    let (separators, value) = rest.split_at(start);
    if !separators.iter().any(|byte| matches!(byte, b'=' | b':')) {
        return None;
    }
    let end = value.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(value.len());
    let value = &value[..end];
    of_name(value).or_else(|| std::str::from_utf8(value).ok()?.parse().ok().and_then(of_number))
}
