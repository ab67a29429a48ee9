//! The manifests are what `kubectl` takes, and fit together.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use capture_tests::{peers, process, workspace};
use serde_json::Value;

const DEADLINE: Duration = Duration::from_mins(1);

/// The manifests of a directory of `deploy/kubernetes`, as `kubectl apply --kustomize` has them.
fn kustomized(name: &str) -> Result<String> {
    let directory = workspace::root().join("deploy/kubernetes").join(name);
    process::text(Command::new("kubectl").arg("kustomize").arg(directory), DEADLINE)
}

fn objects(manifests: &str) -> Result<Vec<Value>> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("manifests.yaml");
    std::fs::write(&file, manifests)?;
    let script = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let text = process::text(python().args(["-c", script]).arg(&file), DEADLINE)?;
    serde_json::from_str(&text).context("no JSON")
}

fn python() -> Command {
    Command::new(peers::environment().join("bin/python3"))
}

fn find<'a>(objects: &'a [Value], kind: &str) -> Result<&'a Value> {
    objects.iter().find(|object| object["kind"] == kind).with_context(|| format!("there is no {kind}"))
}

#[test]
fn every_object_is_by_its_schema() -> Result<()> {
    for name in ["base", "with-docker"] {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("manifests.yaml");
        std::fs::write(&file, kustomized(name)?)?;
        let mut validate = Command::new(peers::environment().join("bin/kubernetes-validate"));
        let output = process::output(validate.arg("--strict").arg(&file), DEADLINE)?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        ensure!(output.status.success(), "{name}: {said}");
        let passed = said.lines().filter(|line| line.contains(" passed for resource ")).count();
        ensure!(passed == 7, "{name}: {passed} of the objects that Kubernetes itself knows: {said}");
    }
    Ok(())
}

#[test]
fn a_field_that_does_not_exist_is_not_by_its_schema() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("manifests.yaml");
    std::fs::write(&file, kustomized("base")?.replace("readOnlyRootFilesystem", "readOnlyRoot"))?;
    let mut validate = Command::new(peers::environment().join("bin/kubernetes-validate"));
    ensure!(!process::output(validate.arg("--strict").arg(&file), DEADLINE)?.status.success());
    Ok(())
}

#[test]
fn they_fit_together() -> Result<()> {
    let objects = objects(&kustomized("with-docker")?)?;
    let (daemons, service) = (find(&objects, "DaemonSet")?, find(&objects, "Service")?);
    let pod = &daemons["spec"]["template"];
    ensure!(pod["metadata"]["labels"] == daemons["spec"]["selector"]["matchLabels"]);
    ensure!(service["spec"]["selector"] == pod["metadata"]["labels"]);
    let monitor = find(&objects, "ServiceMonitor")?;
    ensure!(monitor["spec"]["selector"]["matchLabels"] == service["metadata"]["labels"]);
    ensure!(monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]);
    let job = monitor["spec"]["jobLabel"].as_str().context("no job")?;
    ensure!(service["metadata"]["labels"][job] == "capture-agent", "the alerts look for another job");
    let container = &pod["spec"]["containers"][0];
    ensure!(container["ports"][0]["name"] == service["spec"]["ports"][0]["targetPort"]);
    ensure!(pod["spec"]["serviceAccountName"] == find(&objects, "ServiceAccount")?["metadata"]["name"]);
    let image = container["image"].as_str().unwrap_or_default();
    ensure!(image == format!("capture-agent:{}", env!("CARGO_PKG_VERSION")), "{image}");

    let volumes: Vec<_> =
        pod["spec"]["volumes"].as_array().into_iter().flatten().map(|volume| &volume["name"]).collect();
    let mounts: Vec<_> =
        container["volumeMounts"].as_array().into_iter().flatten().map(|mount| &mount["name"]).collect();
    ensure!(
        mounts.len() == volumes.len() && mounts.iter().all(|mount| volumes.contains(mount)),
        "{mounts:?} {volumes:?}"
    );
    Ok(())
}

#[test]
fn its_configuration_has_no_mistakes() -> Result<()> {
    let file = workspace::root().join("deploy/kubernetes/base/config.yaml");
    let mut validate = Command::new(workspace::agent_binary());
    process::text(validate.args(["validate", "--no-connect", "--config"]).arg(file), DEADLINE).map(drop)
}
