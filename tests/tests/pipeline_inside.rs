//! What goes through pipes and files inside a container is not its output; what comes out at the end is, once.

use anyhow::Result;
use capture_tests::{Agent, Attach, Container, engine, in_both_attach_modes};

in_both_attach_modes!(only_the_end_of_a_pipeline_is_captured);
in_both_attach_modes!(files_and_redirected_streams_are_not_captured);

fn only_the_end_of_a_pipeline_is_captured(attach: Attach) -> Result<()> {
    let messages = capture(attach, "seq 1 100 | sed s/^/x/ | tr x y; echo end; sleep 600")?;
    let expected: Vec<String> = (1..=100).map(|i| format!("y{i}")).chain(["end".to_owned()]).collect();
    assert_eq!(messages, expected);
    Ok(())
}

fn files_and_redirected_streams_are_not_captured(attach: Attach) -> Result<()> {
    let script = "echo file >/tmp/f; echo null >/dev/null; echo both >/tmp/g 2>&1; x=$(echo inside); \
                  (exec >/tmp/h; echo replaced); echo end; sleep 600";
    assert_eq!(capture(attach, script)?, ["end"]);
    Ok(())
}

fn capture(attach: Attach, script: &str) -> Result<Vec<String>> {
    let engine = engine::ensure()?;
    let agent = Agent::start(attach, &[])?;
    let container = Container::start(&engine, "pipeline", script)?;
    agent.wait_for_message(container.name(), "end")?;
    Ok(agent.messages_for(container.name()))
}
