//! A container that starts while the agent runs is captured from its first byte, with all that the record promises.

use anyhow::{Context, Result};
use capture_tests::{Agent, Attach, Container, engine, image, in_both_attach_modes};

in_both_attach_modes!(a_new_container_is_captured_whole);

fn a_new_container_is_captured_whole(attach: Attach) -> Result<()> {
    let engine = engine::ensure()?;
    let agent = Agent::start(attach, &[])?;
    let script = "seq 1 1000; echo end; sleep 600";
    let container = Container::builder(&engine, "after")?
        .options(["--label", "team=storage", "--label", "com.example.tier=a b"])
        .start(&["sh", "-c", script])?;
    let records = agent.wait_for_message(container.name(), "end")?;

    let messages: Vec<&str> = records.iter().map(capture_tests::Record::message).collect();
    let expected: Vec<String> = (1..=1000).map(|i| i.to_string()).chain(["end".to_owned()]).collect();
    assert_eq!(messages, expected);
    let host = host_name()?;
    for record in &records {
        assert_eq!(record.text("container_id"), container.id());
        assert_eq!(record.text("container_id").len(), 64);
        assert_eq!(record.text("image"), image::BUSYBOX);
        assert_eq!(record.label("team"), Some("storage"));
        assert_eq!(record.label("com.example.tier"), Some("a b"));
        assert_eq!(record.text("host"), host);
        assert_eq!(record.text("source_type"), "ebpf");
        assert_eq!(record.stream(), "stdout");
        let timestamp = record.text("timestamp");
        assert!(timestamp.ends_with('Z') && timestamp.len() == "2026-01-01T00:00:00.000000000Z".len(), "{timestamp}");
    }
    let times: Vec<&str> = records.iter().map(|record| record.text("timestamp")).collect();
    assert!(times.is_sorted(), "timestamps go back");
    assert!(agent.plain_lines().is_empty(), "not a record: {:?}", agent.plain_lines());
    Ok(())
}

fn host_name() -> Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").context("no host name")?;
    Ok(name.trim().to_owned())
}
