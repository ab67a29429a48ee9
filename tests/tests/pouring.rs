//! A container that writes hundreds of megabytes a second when the agent first meets it: nothing is dropped, and none of it
//! goes without a name that the engine tells.

use std::io::Write;

use anyhow::{Context, Result, ensure};
use capture_tests::black_hole::BlackHole;
use capture_tests::poll::{DEADLINE, eventually};
use capture_tests::{Agent, Attach, Container, engine, in_both_attach_modes};

/// As far as the sink is asked for: several times what its queue has room for.
const ENOUGH: f64 = 200e6;
/// What is dropped is dropped at the beginning, and not each time.
const BEGINNINGS: usize = 3;
/// JSON that nobody has to keep. Half of the usual room: what a container writes in a tenth of a second would be too much at once.
const TO_NULL: &str =
    "sinks:\n  default: {type: file, path: /dev/null, encoding: json, buffer: {type: memory, max_bytes: 16MiB}}\n";

in_both_attach_modes!(an_agent_begins_beside_it);
in_both_attach_modes!(it_begins_beside_an_agent);
in_both_attach_modes!(nobody_tells_its_name);

fn an_agent_begins_beside_it(attach: Attach) -> Result<()> {
    let container = pours()?;
    for _ in 0..BEGINNINGS {
        let agent = begin(attach, &[])?;
        ensure!(nameless(&agent, &container)? == 0.0, "it went without its name: {}", agent.stderr());
        agent.terminate()?;
    }
    Ok(())
}

fn it_begins_beside_an_agent(attach: Attach) -> Result<()> {
    let agent = begin(attach, &[])?;
    for _ in 0..BEGINNINGS {
        let container = pours()?;
        ensure!(nameless(&agent, &container)? == 0.0, "it went without its name: {}", agent.stderr());
    }
    Ok(())
}

fn nobody_tells_its_name(attach: Attach) -> Result<()> {
    let container = pours()?;
    let gone = BlackHole::new()?;
    let engine = format!("tcp://{}", gone.address());
    let agent = begin(attach, &["--docker-host", &engine])?;
    ensure!(nameless(&agent, &container)? > 0.0, "where did its name come from?");
    Ok(())
}

fn begin(attach: Attach, arguments: &[&str]) -> Result<Agent> {
    let mut config = tempfile::NamedTempFile::with_suffix(".yaml")?;
    config.write_all(TO_NULL.as_bytes())?;
    let path = config.path().to_str().context("a path that is not UTF-8")?;
    Agent::start(attach, &[&["--config", path], arguments].concat())
}

fn pours() -> Result<Container> {
    Container::builder(&engine::ensure()?, "pours")?
        .options(["--log-driver", "none"])
        .start(&["yes", "a line that is neither short nor long, and the same as all"])
}

/// How often its records were not to wait for its name any longer. Nothing of it may be dropped until enough has come.
fn nameless(agent: &Agent, container: &Container) -> Result<f64> {
    let id = format!("container_id=\"{}\"", container.id());
    let metrics = eventually("much of its output", DEADLINE, || {
        let metrics = agent.metrics().ok()?;
        let captured = metrics.iter().find(|(key, _)| {
            key.starts_with("log_capturer_captured_bytes_total{") && key.contains(&id) && key.contains("stdout")
        })?;
        (*captured.1 > ENOUGH).then_some(metrics)
    })
    .with_context(|| format!("the agent said: {}", agent.stderr()))?;
    let sum = |name: &str, label: &str| -> f64 {
        let of_it = metrics
            .iter()
            .filter(|(key, _)| key.split('{').next() == Some(name) && key.contains(&id) && key.contains(label));
        of_it.map(|(_, value)| value).sum()
    };
    let dropped = sum("log_capturer_dropped_bytes_total", "");
    ensure!(dropped == 0.0, "{dropped} bytes dropped; the agent said: {}", agent.stderr());
    Ok(sum("log_capturer_stream_errors_total", "error_type=\"metadata\""))
}
