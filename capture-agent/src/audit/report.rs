//! What an audit found, for people and for programs.

use std::io::{self, Write};

use serde::Serialize;

use super::compare::{Difference, Verdict};

/// Of one container.
#[derive(Clone, Debug, Serialize)]
pub struct Audit {
    /// Name.
    pub container: String,
    /// Id.
    pub container_id: String,
    /// The engine's log; `None` where it has none.
    pub log: Option<String>,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of one container.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Both sides were compared.
    Streams(Vec<StreamAudit>),
    /// There is nothing to compare with, and nothing was asked for that container by name.
    Skipped(String),
    /// Why there is no saying.
    Unknown(String),
}

/// Of one stream.
#[derive(Clone, Debug, Serialize)]
pub struct StreamAudit {
    /// `stdout` or `stderr`.
    pub stream: &'static str,
    /// `nothing`, `equal` or `different`.
    pub result: &'static str,
    /// Lines that are the same.
    pub lines: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The first difference.
    pub difference: Option<Difference>,
}

impl StreamAudit {
    /// Of a comparison.
    #[must_use]
    pub fn new(stream: &'static str, verdict: Verdict) -> Self {
        let (result, lines, bytes, difference) = match verdict {
            Verdict::Nothing => ("nothing", 0, 0, None),
            Verdict::Equal { lines, bytes } => ("equal", lines, bytes, None),
            Verdict::Differs(difference) => {
                ("different", difference.line - 1, difference.offset - difference.column, Some(difference))
            }
        };
        Self { stream, result, lines, bytes, difference }
    }
}

/// 0: all that was compared is equal; 1: something differs; 2: something could not be told, or nothing was compared.
#[must_use]
pub fn exit_code(audits: &[Audit]) -> u8 {
    let streams = || {
        audits.iter().flat_map(|audit| match &audit.outcome {
            Outcome::Streams(streams) => streams.as_slice(),
            _ => &[],
        })
    };
    if streams().any(|stream| stream.difference.is_some()) {
        1
    } else if audits.iter().any(|audit| matches!(audit.outcome, Outcome::Unknown(_)))
        || streams().all(|stream| stream.lines == 0)
    {
        2
    } else {
        0
    }
}

/// Prints a table, each difference below its line, and the sum.
///
/// # Errors
///
/// Whatever `out` says.
pub fn print(audits: &[Audit], out: &mut impl Write) -> io::Result<()> {
    let width = audits.iter().map(|audit| audit.container.chars().count()).max().unwrap_or_default().max(9);
    writeln!(out, "{:width$}  stream     lines        bytes  result", "container")?;
    let mut sum = (0, 0);
    for audit in audits {
        let name = &audit.container;
        match &audit.outcome {
            Outcome::Streams(streams) => {
                for found in streams {
                    let StreamAudit { stream, lines, bytes, .. } = *found;
                    write!(out, "{name:width$}  {stream:6}  {lines:8}  {bytes:11}  ")?;
                    sum = (sum.0 + lines, sum.1 + bytes);
                    print_result(audit, found, out)?;
                }
            }
            Outcome::Skipped(why) => writeln!(out, "{name:width$}  {:27}  skipped: {why}", "")?,
            Outcome::Unknown(why) => writeln!(out, "{name:width$}  {:27}  not compared: {why}", "")?,
        }
    }
    let verdict = match exit_code(audits) {
        0 => "equal",
        1 => "different",
        _ if sum.0 == 0 => "nothing was compared; take a longer --for, or containers that write",
        _ => "equal as far as it was compared",
    };
    writeln!(out, "\n{} lines, {} bytes compared: {verdict}", sum.0, sum.1)
}

fn print_result(audit: &Audit, stream: &StreamAudit, out: &mut impl Write) -> io::Result<()> {
    let Some(difference) = &stream.difference else {
        return writeln!(out, "{}", if stream.result == "nothing" { "no line in the window" } else { "equal" });
    };
    let Difference { line, offset, column, log_place, .. } = difference;
    writeln!(out, "differs in line {line} at its byte {column}, byte {offset} of what was compared")?;
    let file = audit.log.as_deref().unwrap_or_default();
    match &difference.log {
        Some(text) => writeln!(out, "    log       {text}\n              ({file}, entry at byte {log_place})")?,
        None => writeln!(out, "    log       (no such line; {file} ends with the entry at byte {log_place})")?,
    }
    match &difference.captured {
        Some(text) => writeln!(out, "    captured  {text}")?,
        None => writeln!(out, "    captured  (no such line)")?,
    }
    if difference.lost_bytes.is_some() {
        writeln!(
            out,
            "    capture knows of this loss: it is counted, and marked in the output; a larger --ring-size helps"
        )?;
    }
    if difference.same_lines_in_another_order {
        writeln!(
            out,
            "    both have the same lines from there on, in another order: several processes write at once; \
             --side relay has the engine's order"
        )?;
    }
    Ok(())
}
