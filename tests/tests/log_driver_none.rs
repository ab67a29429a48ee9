//! Which log driver the engine uses makes no difference: the agent does not read the engine's log.

use anyhow::Result;
use capture_tests::{Agent, Attach, Container, engine, in_both_attach_modes};

in_both_attach_modes!(every_log_driver_is_the_same_to_it);

fn every_log_driver_is_the_same_to_it(attach: Attach) -> Result<()> {
    let engine = engine::ensure()?;
    let agent = Agent::start(attach, &[])?;
    for driver in ["none", "local", "json-file"] {
        let container = Container::builder(&engine, &format!("driver-{driver}"))?
            .options(["--log-driver", driver])
            .start(&["sh", "-c", "seq 1 500; echo end; sleep 600"])?;
        agent.wait_for_message(container.name(), "end")?;
        let expected: Vec<String> = (1..=500).map(|i| i.to_string()).chain(["end".to_owned()]).collect();
        assert_eq!(agent.messages_for(container.name()), expected, "with the log driver {driver}");
    }
    Ok(())
}
