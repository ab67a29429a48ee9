//! What of each container would be missed, and why.

use anyhow::Result;
use capture_tests::{Container, engine};

use crate::examined::doctor;

#[test]
fn of_each_container_is_told_what_is_missed() -> Result<()> {
    let engine = engine::ensure()?;
    let start = |topic: &str, options: &[&str], script: &str| {
        let options = options.iter().copied();
        Container::builder(&engine, topic)?.options(options).start(&["sh", "-c", script])
    };
    let plain = start("plain", &[], "sleep 600")?;
    let no_log = start("no-log", &["--log-driver", "none"], "sleep 600")?;
    let local = start("local", &["--log-driver", "local", "--log-opt", "mode=non-blocking"], "sleep 600")?;
    let terminal = start("terminal", &["-t"], "sleep 600")?;
    let merged = start("merged", &[], "exec sleep 600 2>&1")?;
    let half = start("half", &[], "exec sleep 600 2>/dev/null")?;
    let away = start("away", &[], "exec sleep 600 >/dev/null 2>/dev/null")?;
    let left_out = start("left-out", &["--label", "capture.exclude=true"], "sleep 600")?;

    let found = doctor(&[])?;
    let says = |container: &Container, status: &str, words: &[&str]| {
        found.says(container.name(), words)?;
        assert_eq!(found.status(container.name()), Some(status), "{found:?}");
        anyhow::Ok(())
    };
    says(&plain, "ok", &["json-file; its output is captured"])?;
    says(&no_log, "ok", &["none: `docker logs` has nothing; its output is captured"])?;
    says(&local, "ok", &["local, non-blocking: the engine drops", "captured"])?;
    says(&terminal, "ok", &["past write", "until it is restarted"])?;
    says(&merged, "ok", &["its output is captured"])?;
    says(&half, "warning", &["of stderr nothing is captured", "redirected"])?;
    says(&away, "warning", &["nothing is captured", "redirected", "restart the container"])?;
    says(&left_out, "ok", &["leave it out"])?;
    assert_eq!(found.code, 1);

    let found = doctor(&["--attach", "syscalls"])?;
    found.says(plain.name(), &["without what goes past write"])
}
