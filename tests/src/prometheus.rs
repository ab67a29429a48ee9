//! A Prometheus of our own that scrapes the agent under test, as the shipped configuration tells it to.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::agent::free_address;
use crate::poll::{DEADLINE, eventually};
use crate::{http, process, workspace};

/// Reading and checking a few files takes well under a second.
const TOOL_DEADLINE: Duration = Duration::from_mins(1);

/// What the shipped configuration scrapes, and how often; a test puts its agent and its patience in their place.
const SHIPPED: [(&str, &str); 3] = [
    ("127.0.0.1:8001", "the agent's default address"),
    ("scrape_interval: 15s", "the scrape interval"),
    ("evaluation_interval: 15s", "the evaluation interval"),
];

/// A running `prometheus` with the shipped rules; killed when dropped.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    /// Its configuration, its storage and what it says.
    home: TempDir,
}

/// One value that an expression has now.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The labels that tell it from the others.
    pub labels: Value,
    /// May be NaN.
    pub value: f64,
}

/// A rule as Prometheus has read it.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The name of the alert, or of what is recorded.
    pub name: String,
    /// Its expression.
    pub expression: String,
    /// Whether it alerts; it records otherwise.
    pub is_alert: bool,
    /// Labels and annotations that an alert is given, `labels` and `annotations`.
    pub definition: Value,
    /// Why its last evaluation failed, if it did.
    pub error: Option<String>,
}

impl Prometheus {
    /// Starts Prometheus with the shipped configuration, but scraping `agent` and evaluating the rules each second.
    ///
    /// # Errors
    /// When it is not installed, or is not ready in time; with what it said.
    pub fn start(agent: SocketAddr) -> Result<Self> {
        let home =
            tempfile::Builder::new().prefix("ct-prometheus-").tempdir().context("no directory for Prometheus")?;
        let deployed = deployed("prometheus");
        for file in ["rules.yml", "alerts.yml"] {
            fs::copy(deployed.join(file), home.path().join(file))
                .with_context(|| format!("{file} cannot be copied"))?;
        }
        let mut configuration = fs::read_to_string(deployed.join("prometheus.yml")).context("prometheus.yml")?;
        let target = agent.to_string();
        for ((text, what), mine) in
            SHIPPED.into_iter().zip([&*target, "scrape_interval: 1s", "evaluation_interval: 1s"])
        {
            ensure!(configuration.contains(text), "prometheus.yml does not say `{text}`, {what}");
            configuration = configuration.replace(text, mine);
        }
        fs::write(home.path().join("prometheus.yml"), configuration).context("prometheus.yml cannot be written")?;

        let address = free_address()?;
        let log = File::create(home.path().join("log")).context("Prometheus has no log")?;
        let child = Command::new("prometheus")
            .current_dir(home.path())
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"])
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("Prometheus has no log")?)
            .stderr(log)
            .spawn()
            .context("prometheus cannot be started; `cargo xtask setup` installs what tests need")?;
        let prometheus = Self { child, address, home };
        eventually("Prometheus to be ready", DEADLINE, || {
            http::get(address, "/-/ready").is_ok_and(|(status, _)| status == 200).then_some(())
        })
        .and_then(|()| eventually("Prometheus to read its rules", DEADLINE, || prometheus.has_rules().then_some(())))
        .with_context(|| format!("Prometheus said: {}", prometheus.log()))?;
        Ok(prometheus)
    }

    /// What it has said.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    /// What an expression gives now: one sample for a scalar, any number of them for a vector.
    ///
    /// # Errors
    /// When Prometheus does not take the expression, or it gives a range or a text.
    pub fn query(&self, expression: &str) -> Result<Vec<Sample>> {
        let data = self.ask(&format!("query?query={}", percent_encoded(expression)))?;
        let sample = |labels: &Value, point: &Value| -> Result<Sample> {
            let value = point[1].as_str().context("a sample without a value")?.parse().context("not a value")?;
            Ok(Sample { labels: labels.clone(), value })
        };
        let result = &data["result"];
        match data["resultType"].as_str() {
            Some("scalar") => Ok(vec![sample(&Value::Null, result)?]),
            Some("vector") => entries(result).iter().map(|entry| sample(&entry["metric"], &entry["value"])).collect(),
            other => bail!("{expression}: gives {}", other.unwrap_or("nothing")),
        }
    }

    /// How many series a selector has.
    ///
    /// # Errors
    /// When Prometheus does not take it for a selector.
    pub fn series(&self, selector: &str) -> Result<usize> {
        Ok(entries(&self.ask(&format!("series?match[]={}", percent_encoded(selector)))?).len())
    }

    /// Every rule and alert, as it was read.
    ///
    /// # Errors
    /// When Prometheus does not answer.
    pub fn rules(&self) -> Result<Vec<Rule>> {
        let data = self.ask("rules")?;
        let rules = entries(&data["groups"]).iter().flat_map(|group| entries(&group["rules"]));
        let text = |rule: &Value, key: &str| rule[key].as_str().unwrap_or_default().to_owned();
        Ok(rules
            .map(|rule| Rule {
                name: text(rule, "name"),
                expression: text(rule, "query"),
                is_alert: rule["type"] == "alerting",
                error: rule["lastError"].as_str().filter(|error| !error.is_empty()).map(str::to_owned),
                definition: rule.clone(),
            })
            .collect())
    }

    fn has_rules(&self) -> bool {
        self.rules().is_ok_and(|rules| !rules.is_empty())
    }

    /// The `data` of an answer.
    fn ask(&self, question: &str) -> Result<Value> {
        let (status, body) = http::get(self.address, &format!("/api/v1/{question}"))?;
        let mut answer: Value = serde_json::from_str(&body).with_context(|| format!("status {status}: {body}"))?;
        ensure!(status == 200, "Prometheus answers {status}: {}", answer["error"]);
        Ok(answer["data"].take())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have died by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `promtool` in the directory of the shipped rules, and gives what it prints.
///
/// # Errors
/// When it is not installed or finds fault.
pub fn promtool(arguments: &[&str]) -> Result<String> {
    let output =
        process::output(Command::new("promtool").current_dir(deployed("prometheus")).args(arguments), TOOL_DEADLINE)?;
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    ensure!(output.status.success(), "promtool {}: {}\n{said}", arguments.join(" "), output.status);
    Ok(said)
}

/// A directory of what is shipped beside the agent.
#[must_use]
pub fn deployed(part: &str) -> PathBuf {
    workspace::root().join(Path::new("deploy")).join(part)
}

fn entries(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn percent_encoded(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() {
            encoded.push(byte.into());
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}
