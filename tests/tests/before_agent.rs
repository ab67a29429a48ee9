//! A container that was there before the agent is captured from the moment the agent is ready, with its name.

use anyhow::Result;
use capture_tests::{Agent, Attach, Container, engine, in_both_attach_modes};

in_both_attach_modes!(a_running_container_is_found);
in_both_attach_modes!(a_container_in_the_middle_of_its_output_loses_no_line_after_the_first);

fn a_running_container_is_found(attach: Attach) -> Result<()> {
    let engine = engine::ensure()?;
    let script = "while [ ! -e /tmp/go ]; do sleep 0.05; done; echo out; echo err >&2; sleep 600";
    let container =
        Container::builder(&engine, "before")?.options(["--label", "purpose=old"]).start(&["sh", "-c", script])?;
    let agent = Agent::start(attach, &[])?;
    container.exec("touch /tmp/go")?;
    agent.wait_for_message(container.name(), "err")?;
    let records = agent.wait_for_message(container.name(), "out")?;
    assert_eq!(records.len(), 2, "{records:?}");
    for record in &records {
        assert_eq!(record.text("container_id"), container.id());
        assert_eq!(record.label("purpose"), Some("old"));
        assert_eq!(record.text("image"), capture_tests::image::BUSYBOX);
        assert_eq!(record.text("source_type"), "ebpf");
    }
    Ok(())
}

fn a_container_in_the_middle_of_its_output_loses_no_line_after_the_first(attach: Attach) -> Result<()> {
    let engine = engine::ensure()?;
    let script = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo $i; usleep 2000; done; echo end; sleep 600";
    let container = Container::start(&engine, "mid-stream", script)?;
    let agent = Agent::start(attach, &[])?;
    agent.wait_for_message(container.name(), "end")?;
    let messages = agent.messages_for(container.name());
    let numbers: Vec<u32> = messages.iter().filter_map(|message| message.parse().ok()).collect();
    assert!(numbers.len() > 1, "the container was over before the agent was there");
    assert_eq!(numbers.len() + 1, messages.len(), "a torn line: {messages:?}");
    let expected: Vec<u32> = (numbers[0]..=3000).collect();
    assert_eq!(numbers, expected);
    Ok(())
}
