//! Something to capture on a machine where no engine runs: an engine and a talkative container, until the run ends.

use anyhow::{Context, Result};
use capture_tests::engine::{self, Engine};
use capture_tests::image;

const NAME: &str = "capture-demo";

/// A line a second, every fifth of them on stderr too.
const SCRIPT: &str = r#"i=0
while :; do
  i=$((i + 1))
  echo "line $i of the demo container"
  if [ $((i % 5)) -eq 0 ]; then echo "line $i went to stderr too" >&2; fi
  sleep 1
done"#;

/// The engine with its container; both are gone when it is dropped.
pub struct Demo {
    engine: Engine,
}

impl Demo {
    /// Starts both. `None` where an engine has come up by itself: its owner's containers are to be captured, not ours.
    pub fn start() -> Result<Option<Self>> {
        let engine = engine::start_default()?;
        if !engine.is_ours() {
            return Ok(None);
        }
        let demo = Self { engine };
        let image = image::busybox(&demo.engine)?;
        let words = ["run", "--detach", "--name", NAME, "--label", "purpose=demo", image, "sh", "-c", SCRIPT];
        demo.engine.docker(words).context("the demo container does not start")?;
        Ok(Some(demo))
    }
}
