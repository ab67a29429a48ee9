//! stdout and stderr stay apart, and what a program redirects goes where it redirects it.

use anyhow::Result;
use capture_tests::{Agent, Attach, Container, Record, engine, in_both_attach_modes};

in_both_attach_modes!(each_line_carries_its_stream);
in_both_attach_modes!(redirected_output_carries_the_stream_it_went_to);

fn each_line_carries_its_stream(attach: Attach) -> Result<()> {
    let script = "i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo o$i; echo e$i >&2; done; echo end; sleep 600";
    let records = capture(attach, script)?;
    let of = |stream: &str| -> Vec<String> {
        let found = records.iter().filter(|record| record.stream() == stream && record.message() != "end");
        found.map(|record| record.message().to_owned()).collect()
    };
    assert_eq!(of("stdout"), (1..=200).map(|i| format!("o{i}")).collect::<Vec<_>>());
    assert_eq!(of("stderr"), (1..=200).map(|i| format!("e{i}")).collect::<Vec<_>>());
    Ok(())
}

fn redirected_output_carries_the_stream_it_went_to(attach: Attach) -> Result<()> {
    let script = "ls /missing 2>&1; ls /missing-too; echo crossed 1>&2; echo end; sleep 600";
    let records = capture(attach, script)?;
    let stream_of = |part: &str| {
        let record = records.iter().find(|record| record.message().contains(part));
        record.map_or("nowhere", Record::stream).to_owned()
    };
    assert_eq!(stream_of("/missing:"), "stdout");
    assert_eq!(stream_of("/missing-too:"), "stderr");
    assert_eq!(stream_of("crossed"), "stderr");
    assert_eq!(records.len(), 4, "{records:?}");
    Ok(())
}

/// The records of a container that runs `script`, which prints `end` last on stdout.
fn capture(attach: Attach, script: &str) -> Result<Vec<Record>> {
    let engine = engine::ensure()?;
    let agent = Agent::start(attach, &[])?;
    let container = Container::start(&engine, "streams", script)?;
    agent.wait_for_message(container.name(), "end")
}
