//! A container that prints one line and is gone is captured, every time, with its name, image and labels.

use anyhow::Result;
use capture_tests::{Agent, Attach, Container, engine, image, in_both_attach_modes};

const CONTAINERS: usize = 100;

in_both_attach_modes!(every_short_lived_container_is_captured);

fn every_short_lived_container_is_captured(attach: Attach) -> Result<()> {
    let engine = engine::ensure()?;
    let agent = Agent::start(attach, &[])?;
    let mut names = Vec::with_capacity(CONTAINERS);
    for i in 0..CONTAINERS {
        let number = format!("number={i}");
        let container = Container::builder(&engine, "race")?.options(["--label", number.as_str()]);
        names.push(container.run(&["echo", &format!("hi-{i}")])?);
    }
    let all_there =
        |records: &[capture_tests::Record]| names.iter().all(|name| records.iter().any(|record| record.is_named(name)));
    let waited = agent.wait_until("a record of every container", all_there);

    let mut wrong = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let records = agent.records_for(name);
        let is_right = records.len() == 1
            && records[0].message() == format!("hi-{i}")
            && records[0].stream() == "stdout"
            && records[0].label("number") == Some(i.to_string().as_str())
            && records[0].text("image") == image::BUSYBOX;
        if !is_right {
            // A line without its name is another failure than a line that is not there.
            wrong.push((name, records, agent.records_saying(&format!("hi-{i}"))));
        }
    }
    assert!(wrong.is_empty(), "{} of {CONTAINERS}: {wrong:?}; the agent said: {}", wrong.len(), agent.stderr());
    waited
}
