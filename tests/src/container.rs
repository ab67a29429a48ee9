//! Containers that are gone when the test is over.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Result;

use crate::engine::Engine;
use crate::{image, process};

/// How long a container that is run to its end may take.
const DEADLINE: Duration = Duration::from_mins(2);

/// A name that no other test process and no other container of this one has.
///
/// The process id in it lets a later run remove what a killed one left behind.
#[must_use]
pub fn unique_name(topic: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("ct-{}-{topic}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// What a container is to be run with.
#[derive(Debug)]
pub struct Builder {
    engine: Arc<Engine>,
    name: String,
    image: String,
    options: Vec<String>,
}

/// A container; removed when dropped.
#[derive(Debug)]
pub struct Container {
    engine: Arc<Engine>,
    name: String,
    id: String,
}

impl Container {
    /// A container of the busybox image, named after the test's topic.
    ///
    /// # Errors
    /// When the image cannot be made.
    pub fn builder(engine: &Arc<Engine>, topic: &str) -> Result<Builder> {
        let image = image::busybox(engine)?.to_owned();
        Ok(Builder { engine: Arc::clone(engine), name: unique_name(topic), image, options: Vec::new() })
    }

    /// Starts `sh -c script` in a container of its own, in the background.
    ///
    /// # Errors
    /// When the engine does not start it.
    pub fn start(engine: &Arc<Engine>, topic: &str, script: &str) -> Result<Self> {
        Self::builder(engine, topic)?.start(&["sh", "-c", script])
    }

    /// Its name, without the slash that the engine's API puts before it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The engine that it runs on.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Its full id, 64 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Runs `sh -c script` inside, and gives what that prints.
    ///
    /// # Errors
    /// When it fails.
    pub fn exec(&self, script: &str) -> Result<String> {
        self.engine.docker(["exec", &self.name, "sh", "-c", script])
    }

    /// Waits for its end and gives its exit status.
    ///
    /// # Errors
    /// When it runs for longer than a minute.
    pub fn wait(&self) -> Result<String> {
        self.engine.docker(["wait", &self.name])
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // It may be gone already: that is what this is for.
        let _ = self.engine.docker(["rm", "--force", &self.name]);
    }
}

impl Builder {
    /// Adds options of `docker run`.
    #[must_use]
    pub fn options<'a>(mut self, options: impl IntoIterator<Item = &'a str>) -> Self {
        self.options.extend(options.into_iter().map(str::to_owned));
        self
    }

    /// Takes another image; the engine must have it.
    #[must_use]
    pub fn image(mut self, image: &str) -> Self {
        image.clone_into(&mut self.image);
        self
    }

    /// The name it will have.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `docker run --detach`.
    ///
    /// # Errors
    /// When the engine does not start it.
    pub fn start(self, words: &[&str]) -> Result<Container> {
        let id = process::text(self.command("--detach").args(words), DEADLINE)?;
        Ok(Container { engine: self.engine, name: self.name, id })
    }

    /// `docker run --rm`: runs it to its end, and gives its name.
    ///
    /// # Errors
    /// When it fails, or takes longer than two minutes.
    pub fn run(self, words: &[&str]) -> Result<String> {
        process::text(self.command("--rm").args(words), DEADLINE)?;
        Ok(self.name)
    }

    fn command(&self, how: &str) -> Command {
        let mut client = self.engine.client();
        client.args(["run", how, "--name", &self.name]).args(&self.options).arg(&self.image);
        client
    }
}
