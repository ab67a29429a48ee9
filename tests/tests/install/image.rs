//! The image: made from nothing, the same each time, and run by the real engine with all privileges and with few.

use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use capture_tests::container::unique_name;
use capture_tests::{Container, Engine, engine, process, workspace};

use crate::witness;

const DEADLINE: Duration = Duration::from_mins(5);

/// Builds the image into `archive`, and gives its digest.
fn build(archive: &Path) -> Result<String> {
    let mut xtask = workspace::xtask()?;
    // Another name than people's: theirs stays what it is.
    let xtask = xtask.args(["image", "--no-load", "--name", "capture-test/agent", "--output"]).arg(archive);
    let said = process::text(xtask, DEADLINE)?;
    Ok(said.rsplit(' ').next().unwrap_or_default().to_owned())
}

/// The image's name, after it was made and loaded; once in this process.
pub fn load(engine: &Engine) -> Result<&'static str> {
    static IMAGE: OnceLock<Result<String, String>> = OnceLock::new();
    let loaded = IMAGE.get_or_init(|| {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let archive = directory.path().join("image.tar");
        let load = || -> Result<String> {
            build(&archive)?;
            engine.docker(["load", "--input", archive.to_str().context("a path that is not UTF-8")?])
        };
        let said = load().map_err(|error| format!("{error:#}"))?;
        let name = said.lines().find_map(|line| line.strip_prefix("Loaded image: "));
        name.map(str::to_owned).ok_or_else(|| format!("docker load said: {said}"))
    });
    loaded.as_ref().map(String::as_str).map_err(|error| anyhow!("{error}"))
}

/// Runs the image with these options of `docker run`, and fails unless it captures others and not itself.
fn captures(topic: &str, options: &[String]) -> Result<()> {
    let engine = engine::ensure()?;
    let image = load(&engine)?;
    let volume = unique_name("state");
    let state = format!("{volume}:/var/lib/capture-agent");
    let options = options.iter().map(String::as_str).chain(["--network", "none", "--volume", state.as_str()]);
    let agent = Container::builder(&engine, topic)?.image(image).options(options).start(&[])?;
    let outcome = captures_as(&engine, topic, &agent);
    drop(agent);
    engine.docker(["volume", "rm", &volume])?;
    outcome
}

fn captures_as(engine: &Arc<Engine>, topic: &str, agent: &Container) -> Result<()> {
    let printed = || printed(engine, agent);
    let records = witness::speaks(engine, topic, printed)?;
    witness::is_not_its_own(&records, agent)?;
    // It ends as it is told to, not by SIGKILL after ten seconds.
    engine.docker(["stop", "--time", "30", agent.name()])?;
    let status = engine.docker(["inspect", "--format", "{{.State.ExitCode}}", agent.name()])?;
    ensure!(status == "0", "the agent ended with {status}: {}", self::printed(engine, agent)?);
    Ok(())
}

/// Both streams of a container.
pub fn printed(engine: &Engine, container: &Container) -> Result<String> {
    let output = process::output(engine.client().args(["logs", container.name()]), DEADLINE)?;
    let running = engine.docker(["inspect", "--format", "{{.State.Status}}", container.name()])?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(running != "exited" || text.contains("\"message\""), "the agent's container has ended: {text}");
    Ok(text)
}

#[test]
fn the_same_sources_give_the_same_image() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let archives = ["one.tar", "two.tar"].map(|name| directory.path().join(name));
    let digests = [build(&archives[0])?, build(&archives[1])?];
    ensure!(digests[0].starts_with("sha256:") && digests[0].len() == 71, "no digest: {}", digests[0]);
    ensure!(digests[0] == digests[1], "{} and {}", digests[0], digests[1]);
    ensure!(fs::read(&archives[0])? == fs::read(&archives[1])?, "the archives differ");
    Ok(())
}

#[test]
fn with_all_privileges_it_captures_others_and_not_itself() -> Result<()> {
    let mut options = privileges()?;
    for option in
        ["--pid=host", "--cgroupns=host", "--volume=/sys:/sys", "--volume=/var/run/docker.sock:/var/run/docker.sock"]
    {
        options.push(option.to_owned());
    }
    captures("image-all", &options)
}

#[test]
fn with_what_the_readme_says_it_captures_others_and_not_itself() -> Result<()> {
    let engine = engine::ensure()?;
    captures("image-few", &least_privileges(&engine)?)
}

/// `--privileged`, or all that this process may hand on: an engine whose own set lacks something refuses the former.
fn privileges() -> Result<Vec<String>> {
    /// `include/uapi/linux/capability.h`; the only one that a machine for tests was seen without.
    const CAP_SYS_RESOURCE: u32 = 24;
    let last: u32 = fs::read_to_string("/proc/sys/kernel/cap_last_cap")?.trim().parse()?;
    let status = fs::read_to_string("/proc/self/status")?;
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).context("no CapBnd in /proc")?;
    let bounding = u64::from_str_radix(bounding.trim(), 16)?;
    let missing = !bounding & ((1 << (last + 1)) - 1);
    if missing == 0 {
        return Ok(vec!["--privileged".to_owned()]);
    }
    ensure!(missing == 1 << CAP_SYS_RESOURCE, "capabilities {missing:#x} cannot be handed on");
    let options = ["--cap-add=ALL", "--cap-drop=SYS_RESOURCE", "--security-opt=seccomp=unconfined"];
    Ok(options.map(str::to_owned).to_vec())
}

/// The options of the command in the README.
struct Options {
    /// With their values.
    pairs: Vec<(String, String)>,
    /// Without one.
    flags: Vec<String>,
}

fn options_of_the_readme() -> Result<Options> {
    const COMMAND: &str = "docker run --detach --name capture-agent";
    let readme = fs::read_to_string(workspace::root().join("README.md"))?;
    let (_, rest) = readme.split_once(COMMAND).context("the README has no `docker run` any more")?;
    let (options, _) = rest.split_once("capture-agent:latest").context("the README runs another image")?;
    let words = options.split([' ', '\n', '\\']).filter(|word| !word.is_empty());
    let (flags, words): (Vec<&str>, Vec<&str>) = words.partition(|word| *word == "--read-only");
    ensure!(!flags.is_empty(), "the README's root is not read-only: {options}");
    // Another flag without a value would shift the pairs.
    let are_pairs = words.chunks_exact(2).all(|pair| pair[0].starts_with("--") && !pair[1].starts_with("--"));
    ensure!(are_pairs && words.len() % 2 == 0, "{words:?}");
    let pairs: Vec<_> = words.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect();
    let drops = pairs.iter().any(|(option, value)| option == "--cap-drop" && value == "ALL");
    ensure!(drops, "the README drops no capabilities: {words:?}");
    Ok(Options { pairs, flags: flags.into_iter().map(str::to_owned).collect() })
}

/// Names of the capabilities that the README's command adds.
pub fn capabilities_of_the_readme() -> Result<Vec<String>> {
    let options = options_of_the_readme()?.pairs;
    Ok(options.into_iter().filter(|(option, _)| option == "--cap-add").map(|(_, value)| value).collect())
}

/// The README's options, but for those that the test sets itself.
fn least_privileges(engine: &Engine) -> Result<Vec<String>> {
    let Options { pairs, flags } = options_of_the_readme()?;
    let knows = knows_bpf(engine)?;
    let mut options = Vec::new();
    for (option, value) in pairs {
        let value = match value.as_str() {
            // What these were a part of until they had names.
            "BPF" | "PERFMON" if !knows => "SYS_ADMIN".to_owned(),
            _ => value,
        };
        let own = option == "--network" || value.ends_with(":/var/lib/capture-agent");
        if !own {
            options.extend([option, value]);
        }
    }
    options.extend(flags);
    Ok(options)
}

/// Whether the engine knows the names `BPF` and `PERFMON`; that of Debian 12 does not.
pub fn knows_bpf(engine: &Engine) -> Result<bool> {
    let image = capture_tests::image::busybox(engine)?;
    let name = unique_name("names");
    let made = engine.docker(["create", "--name", &name, "--cap-add", "BPF", "--network", "none", image, "true"]);
    match made {
        Ok(_) => engine.docker(["rm", &name]).map(|_| true),
        Err(error) if format!("{error:#}").contains("unknown capability") => Ok(false),
        Err(error) => Err(error),
    }
}
