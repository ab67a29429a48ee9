//! The compose file: read by the real `docker compose`, and its agent run by it.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use capture_tests::container::unique_name;
use capture_tests::{Engine, agent, engine, process, workspace};
use serde_json::Value;

use crate::{image, witness};

const DEADLINE: Duration = Duration::from_mins(2);

/// `docker compose`, as the plugin of the client or as the program that Debian has.
fn compose() -> Result<Command> {
    let has_plugin = process::output(Command::new("docker").args(["compose", "version"]), DEADLINE)?.status.success();
    let mut command = Command::new(if has_plugin { "docker" } else { "docker-compose" });
    if has_plugin {
        command.arg("compose");
    }
    command.arg("--file").arg(workspace::root().join("deploy/compose.yaml"));
    command.env_remove("COMPOSE_PROFILES");
    Ok(command)
}

/// The file as it is understood, with everything in it resolved.
fn understood(profile: Option<&str>) -> Result<Value> {
    let mut command = compose()?;
    if let Some(profile) = profile {
        command.env("COMPOSE_PROFILES", profile);
    }
    let yaml = process::text(command.arg("config"), DEADLINE)?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("compose.yaml");
    std::fs::write(&file, yaml)?;
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let python = capture_tests::peers::environment().join("bin/python3");
    let json = process::text(Command::new(python).args(["-c", script]).arg(&file), DEADLINE)?;
    serde_json::from_str(&json).context("no JSON")
}

/// Every path of the repository that a service mounts, and the place where it is mounted.
fn mounts(service: &Value) -> Vec<(String, String)> {
    let root = workspace::root().display().to_string();
    let volumes = service["volumes"].as_array().into_iter().flatten();
    let pairs = volumes.filter_map(|volume| match volume {
        Value::String(text) => {
            let mut parts = text.split(':').map(str::to_owned);
            Some((parts.next()?, parts.next()?))
        }
        volume => Some((volume["source"].as_str()?.to_owned(), volume["target"].as_str()?.to_owned())),
    });
    pairs.filter(|(source, _)| source.starts_with(&root)).collect()
}

#[test]
fn it_is_understood_and_everything_that_it_mounts_is_there() -> Result<()> {
    let file = understood(None)?;
    let services = file["services"].as_object().context("no services")?;
    let names: Vec<_> = services.keys().map(String::as_str).collect();
    ensure!(["capture-agent", "grafana", "prometheus"].iter().all(|name| names.contains(name)), "{names:?}");
    let mut mounted = 0;
    for (name, service) in services {
        for (source, target) in mounts(service) {
            ensure!(std::path::Path::new(&source).exists(), "{name}: {source}, for {target}, is not there");
            mounted += 1;
        }
    }
    ensure!(mounted >= 5, "only {mounted} mounts of the repository were found");
    Ok(())
}

#[test]
fn each_profile_has_a_configuration_without_mistakes() -> Result<()> {
    for profile in [None, Some("loki")] {
        let file = understood(profile)?;
        let agent = &file["services"]["capture-agent"];
        let words = agent["command"].as_array().context("the agent has no command")?;
        let path = words.last().and_then(Value::as_str).context("no configuration")?;
        let (source, target) = mounts(agent).into_iter().next().context("no configuration is mounted")?;
        let path = path.replacen(&target, &source, 1);
        let mut validate = Command::new(workspace::agent_binary());
        let said = process::text(validate.args(["validate", "--no-connect", "--config", &path]), DEADLINE)?;
        ensure!(said.contains(profile.unwrap_or("console")), "{profile:?}: {said}");
    }
    Ok(())
}

#[test]
fn grafana_and_prometheus_find_what_is_provisioned() -> Result<()> {
    let file = understood(Some("loki"))?;
    let text = |path: &str| std::fs::read_to_string(workspace::root().join("deploy/compose").join(path));
    let dashboards = mounts(&file["services"]["grafana"]);
    let (_, target) =
        dashboards.iter().find(|(source, _)| source.ends_with("deploy/grafana")).context("no dashboards")?;
    ensure!(text("grafana/dashboards.yaml")?.contains(&format!("path: {target}\n")), "the provider looks elsewhere");
    let home = &file["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"];
    let home = home.as_str().context("no home")?.replacen(target, "deploy/grafana", 1);
    ensure!(workspace::root().join(&home).is_file(), "{home}");
    let prometheus = file["services"]["prometheus"]["command"].to_string();
    ensure!(prometheus.contains("--web.listen-address=127.0.0.1:9090"), "{prometheus}");
    ensure!(text("grafana/datasources.yaml")?.contains("url: http://127.0.0.1:9090\n"));
    let loki = text("loki.yaml")?;
    ensure!(loki.contains("http_listen_port: 3100\n") && loki.contains("http_listen_address: 127.0.0.1\n"));
    ensure!(text("agent/loki.yaml")?.contains("endpoint: http://127.0.0.1:3100\n"));
    Ok(())
}

#[test]
fn its_agent_captures_others_and_not_itself() -> Result<()> {
    let engine = engine::ensure()?;
    let image = image::load(&engine)?;
    let project = Project::new(&engine, image)?;
    project.run(&["up", "--detach", "--no-build", "capture-agent"])?;
    let outcome = project.captures();
    project.run(&["down", "--volumes", "--timeout", "30"])?;
    outcome
}

/// What `docker compose` has started, under a name of its own.
struct Project {
    engine: Arc<Engine>,
    name: String,
    image: &'static str,
    listen: String,
    directory: tempfile::TempDir,
}

impl Project {
    fn new(engine: &Arc<Engine>, image: &'static str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        // What the witness reads are records, and not text for people.
        let json = "services: {capture-agent: {command: [run, --format, json]}}\n";
        std::fs::write(directory.path().join("json.yaml"), json)?;
        let (name, listen) = (unique_name("compose"), agent::free_address()?.to_string());
        Ok(Self { engine: Arc::clone(engine), name, image, listen, directory })
    }

    fn run(&self, words: &[&str]) -> Result<String> {
        let mut command = compose()?;
        command.arg("--file").arg(self.directory.path().join("json.yaml"));
        command.args(["--project-name", &self.name, "--project-directory"]).arg(workspace::root().join("deploy"));
        command.env("DOCKER_HOST", self.engine.host()).env("DOCKER_SOCKET", self.engine.socket());
        command.env("CAPTURE_AGENT_IMAGE", self.image).env("CAPTURE_AGENT_LISTEN", &self.listen);
        if !image::knows_bpf(&self.engine)? {
            // As the file says.
            command.env("CAPTURE_AGENT_BPF", "SYS_ADMIN").env("CAPTURE_AGENT_PERFMON", "CAP_SYS_ADMIN");
        }
        process::text(command.args(words), DEADLINE)
    }

    fn captures(&self) -> Result<()> {
        let id = self.run(&["ps", "--quiet", "capture-agent"])?;
        let records = witness::speaks(&self.engine, "compose", || {
            let output = process::output(self.engine.client().args(["logs", &id]), DEADLINE)?;
            Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
        })?;
        let own = records.iter().filter(|record| record.is_of(&id)).count();
        ensure!(own == 0, "the agent has captured {own} records of its own container");
        let address = self.listen.parse()?;
        let (status, metrics) = capture_tests::http::get(address, "/metrics")?;
        ensure!(status == 200 && metrics.contains("log_capturer_active_streams "), "{status}: {metrics}");
        Ok(())
    }
}
