//! A write of 1 MiB arrives whole and in order, whether it is one line or many.

use anyhow::Result;
use capture_tests::{Agent, Attach, Container, Record, engine, in_both_attach_modes};

const SIZE: usize = 1 << 20;

in_both_attach_modes!(many_lines_in_one_write);
in_both_attach_modes!(one_line_in_one_write);

fn many_lines_in_one_write(attach: Attach) -> Result<()> {
    let records = capture(attach, "seq 1 200000 | head -c 1048576 >/tmp/data")?;
    let lines: Vec<String> = records.iter().map(|record| record.message().to_owned()).collect();
    let expected = numbers("\n");
    // The last line is cut by the size, and ends with the newline of the line after it.
    assert_eq!(lines.join("\n").len(), SIZE);
    assert!(lines.iter().map(String::as_str).eq(expected.split('\n')), "lines are missing or out of order");
    Ok(())
}

fn one_line_in_one_write(attach: Attach) -> Result<()> {
    let records = capture(attach, "seq 1 200000 | tr '\\n' ' ' | head -c 1048576 >/tmp/data")?;
    // A line that is longer than the agent's limit arrives in pieces, each but the last marked.
    let (last, pieces) = records.split_last().expect("at least one record");
    assert!(pieces.iter().all(|piece| piece.json()["_partial"] == true), "a piece is not marked");
    assert!(last.json()["_partial"] != true, "the last piece is marked as if there were more");
    let line: String = records.iter().map(Record::message).collect();
    assert_eq!(line.len(), SIZE);
    assert!(line == numbers(" "), "the line is not what was written");
    Ok(())
}

/// The first mebibyte of the numbers from 1, with `separator` after each.
fn numbers(separator: &str) -> String {
    let mut text = String::with_capacity(SIZE + 8);
    for number in 1.. {
        if text.len() >= SIZE {
            break;
        }
        text.push_str(&number.to_string());
        text.push_str(separator);
    }
    text.truncate(SIZE);
    text
}

/// Runs `prepare`, which fills `/tmp/data`, then writes that file with one `write`, a newline and a line `end`.
fn capture(attach: Attach, prepare: &str) -> Result<Vec<Record>> {
    let engine = engine::ensure()?;
    let agent = Agent::start(attach, &[])?;
    let script = format!("{prepare}; dd if=/tmp/data bs=1M count=1 2>/dev/null; printf '\\nend\\n'; sleep 600");
    let container = Container::start(&engine, "large", &script)?;
    let mut records = agent.wait_for_message(container.name(), "end")?;
    let end = records.pop();
    assert!(end.is_some_and(|record| record.message() == "end"), "something came after the last line");
    Ok(records)
}
