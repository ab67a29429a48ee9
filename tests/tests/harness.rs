//! The harness does what the other tests rely on.

use anyhow::Result;
use capture_tests::poll::{DEADLINE, eventually};
use capture_tests::{Container, daemon, engine};

#[test]
fn a_private_engine_can_be_frozen_and_leaves_nothing_behind() -> Result<()> {
    let engine = engine::private()?;
    let socket = engine.socket().to_owned();
    let container = Container::start(&engine, "harness", "while :; do echo here; sleep 0.1; done")?;
    assert_eq!(container.exec("echo inside")?, "inside");
    assert_eq!(container.id().len(), 64);
    let id = container.id().to_owned();

    engine.freeze()?;
    assert!(!daemon::answers(&socket), "a stopped engine answers");
    engine.thaw()?;
    eventually("the engine to answer again", DEADLINE, || daemon::answers(&socket).then_some(()))?;

    drop(container);
    drop(engine);
    assert!(!socket.exists());
    let running = std::fs::read_dir("/proc")?.flatten().any(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&id)
    });
    assert!(!running, "the container's shim is still there");
    Ok(())
}
