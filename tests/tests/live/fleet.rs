//! Containers with names and lines as one meets them, for what is looked at by eye; and commands in cgroups of their own,
//! which the agent takes for containers, where there are to be more than an engine starts in a test's time.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use capture_tests::cgroups::Hierarchy;
use capture_tests::{Engine, engine, image, workspace};

/// How long a scene is let run before its picture is taken: most of a minute, which sparklines show, where the picture is
/// to be kept.
pub fn scene() -> Duration {
    Duration::from_secs(if std::env::var_os("CAPTURE_PICTURES").is_some() { 50 } else { 5 })
}

const NAMES: [&str; 20] = [
    "web-1",
    "web-2",
    "api-1",
    "api-2",
    "checkout",
    "catalog",
    "search",
    "payments",
    "mailer",
    "worker-1",
    "worker-2",
    "scheduler",
    "postgres",
    "redis",
    "nginx",
    "grafana",
    "registry",
    "importer",
    "thumbnails",
    "audit",
];

/// Running containers on an engine of their own; all of it gone when dropped.
pub struct Fleet {
    engine: Arc<Engine>,
    names: Vec<&'static str>,
}

impl Fleet {
    /// Starts so many, up to twenty, each with a pace of its own.
    pub fn start(count: usize) -> Result<Self> {
        // Names as people give them, which nobody else's containers have: the engine is the fleet's own.
        let engine = engine::private()?;
        let image = image::busybox(&engine)?;
        let mut fleet = Self { engine, names: Vec::new() };
        for (place, name) in NAMES.iter().take(count).enumerate() {
            let script = script(place);
            let label = format!("team={}", ["shop", "platform", "data"][place % 3]);
            let words = ["run", "--detach", "--label", &label, "--name", name, image, "sh", "-c", &script];
            fleet.engine.docker(words)?;
            fleet.names.push(name);
        }
        Ok(fleet)
    }

    /// Their names.
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// Where its engine answers, for the agent.
    pub fn host(&self) -> String {
        self.engine.host()
    }
}

/// Lines of requests, jobs and warnings, at a pace that goes up and down.
fn script(place: usize) -> String {
    let pause = ["0.2", "0.3", "0.7", "1.1", "1.9"][place % 5];
    let burst = [9, 2, 5, 1, 14][(place / 2) % 5];
    let what = [
        "GET /items/$((j*31%997)) 200 $((j*7%90)) ms",
        "job $((j*613%9973)) done in $((j*13%700)) ms",
        "SELECT on orders took $((j*17%45)) ms, $((j*3%200)) rows",
        "cache hit ratio 0.$((90+j%9)), $((j*19%5000)) keys",
    ][place % 4];
    format!(
        "i={place}; j={place}; while :; do i=$((i+1)); n=$((i % 7 * {burst} / 3 + 1)); \
         while [ $n -gt 0 ]; do n=$((n-1)); j=$((j+1)); echo \"{what}\"; done; \
         [ $((i % 19)) -eq 0 ] && echo \"upstream timed out after 3000 ms, attempt $((i%4+1)) of 4\" >&2; sleep {pause}; done"
    )
}

/// Keeps a picture where whoever runs the tests wants it: `CAPTURE_PICTURES`, or else the target directory.
pub fn keep(name: &str, picture: &[u8]) -> Result<()> {
    let chosen = std::env::var_os("CAPTURE_PICTURES").map(PathBuf::from);
    let directory = chosen.unwrap_or_else(|| workspace::target_dir().join("xtask/pictures"));
    fs::create_dir_all(&directory).with_context(|| format!("{}", directory.display()))?;
    let path = directory.join(name);
    fs::write(&path, picture).with_context(|| format!("{}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}

/// Commands in cgroups of their own; all gone when dropped.
pub struct Cgroups {
    members: Vec<(Child, PathBuf)>,
}

impl Cgroups {
    /// Starts `count` shells, each of which waits by `read -t` of an input where nothing comes: two hundred `sleep` a second
    /// would be much of what a test of two hundred containers measures. A cgroup's name is what makes the agent take it for
    /// a container's; with its output in pipes whose other end is read, a shell in it is one for the kernel side.
    pub fn start(count: usize, script: &str) -> Result<Self> {
        let root = Hierarchy::find()?;
        let mut cgroups = Self { members: Vec::new() };
        for number in 0..count {
            let id = format!("{:016x}{number:048x}", u64::from(std::process::id()));
            let path = root.root().join(id);
            fs::create_dir(&path).with_context(|| format!("{}", path.display()))?;
            // The first exec in the cgroup is the container's init.
            let enter = format!("echo $$ > {}/cgroup.procs; exec bash -c '{script}' {number}", path.display());
            let mut command = Command::new("bash");
            command.args(["-c", &enter]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
            let mut child = command.spawn().context("bash")?;
            if let Some(mut output) = child.stdout.take() {
                std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
            }
            cgroups.members.push((child, path));
        }
        Ok(cgroups)
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for (child, path) in &mut self.members {
            // With what it has started: a sleep.
            let _ = fs::write(path.join("cgroup.kill"), "1");
            let _ = child.kill();
            let _ = child.wait();
        }
        for (_, path) in &self.members {
            let remove = || fs::remove_dir(path).is_ok().then_some(());
            let _ = capture_tests::poll::eventually("a cgroup to be empty", Duration::from_secs(5), remove);
        }
    }
}
