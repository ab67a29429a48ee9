//! A real Prometheus scrapes the agent, takes the rules, and has an answer to everything that the dashboards ask.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use capture_tests::dashboard::{Dashboard, Expression};
use capture_tests::poll::eventually;
use capture_tests::prometheus::{Prometheus, Rule, promtool};
use capture_tests::{Agent, Attach, Container, engine, promql, workspace};

/// Scrapes come each second, and the longest window looks at thirty of them.
const DEADLINE: Duration = Duration::from_mins(1);

/// An agent's address that nobody has: what needs the rules alone gets by with it.
const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

const WRITER: &str = "while :; do echo out; echo err >&2; sleep 0.2; done";

#[test]
fn every_expression_returns_data() -> Result<()> {
    let engine = engine::ensure()?;
    let agent = Agent::start(Attach::Raw, &["--bpf-stats", "--rotation-interval", "1s"])?;
    let prometheus = Prometheus::start(agent.address())?;
    let containers: Vec<_> = (0..3).map(|_| Container::start(&engine, "dashboards", WRITER)).collect::<Result<_>>()?;
    for container in &containers {
        agent.wait_for_message(container.name(), "out")?;
    }

    let instance = agent.address().to_string();
    let rules = prometheus.rules()?;
    let mut questions = Vec::new();
    for dashboard in Dashboard::all()? {
        let drawn = dashboard.drawn().chain(dashboard.variables()?);
        questions.extend(drawn.map(|expression| (expression.to_string(), expression.filled(&instance))));
    }
    for rule in rules.iter().filter(|rule| !rule.is_alert) {
        // Both what computes it now, and what was computed.
        questions.push((format!("rules.yml, `{}`: {}", rule.name, rule.expression), rule.expression.clone()));
        questions.push((format!("rules.yml, `{}` is recorded", rule.name), rule.name.clone()));
    }
    ensure!(questions.len() > 100, "only {} expressions were found", questions.len());
    let asked = questions.len();
    let mut answers = Vec::new();
    let complete = eventually("an answer to every expression", DEADLINE, || {
        // The engine has to be asked for something as well, or its requests have no duration.
        let moved = Container::builder(&engine, "dashboards").and_then(|short| short.run(&["true"]));
        if let Err(error) = moved {
            return Some(Err(error));
        }
        questions.retain(|(_, expression)| !has_data(&prometheus, expression));
        answers = questions.iter().map(|(place, expression)| failure(&prometheus, place, expression)).collect();
        questions.is_empty().then_some(Ok(()))
    });
    complete.with_context(|| format!("{} of {asked} have no data:\n{}", answers.len(), answers.join("\n")))??;

    let unanswered = unselected(&prometheus, &rules, &Dashboard::all()?, &instance)?;
    assert!(unanswered.is_empty(), "selectors without a series:\n{}", unanswered.join("\n"));
    let faults: Vec<_> = prometheus.rules()?.into_iter().filter_map(|rule| Some((rule.name, rule.error?))).collect();
    assert!(faults.is_empty(), "rules that fail: {faults:?}");
    println!("{asked} expressions and {} alerts have data", rules.iter().filter(|rule| rule.is_alert).count());
    Ok(())
}

/// Whether an expression has a value; one that is not a number is nothing that can be drawn.
fn has_data(prometheus: &Prometheus, expression: &str) -> bool {
    prometheus.query(expression).is_ok_and(|samples| samples.iter().any(|sample| !sample.value.is_nan()))
}

fn failure(prometheus: &Prometheus, place: &str, expression: &str) -> String {
    match prometheus.query(expression) {
        Err(error) => format!("{place}\n    {error:#}"),
        Ok(samples) if samples.is_empty() => format!("{place}\n    no samples"),
        Ok(_) => format!("{place}\n    not a number"),
    }
}

/// What alerts and annotations select and nothing has: they give nothing while all is well, so their selectors are asked for.
fn unselected(
    prometheus: &Prometheus,
    rules: &[Rule],
    dashboards: &[Dashboard],
    instance: &str,
) -> Result<Vec<String>> {
    let alerts = rules.iter().filter(|rule| rule.is_alert);
    let mut places: Vec<_> = alerts.map(|rule| (format!("alert {}", rule.name), rule.expression.clone())).collect();
    let annotations = dashboards.iter().flat_map(Dashboard::annotations);
    places.extend(annotations.map(|expression| (expression.to_string(), expression.filled(instance))));
    let mut missing = Vec::new();
    for (place, expression) in places {
        let selectors = promql::selectors(&expression);
        ensure!(!selectors.is_empty(), "{place}: selects nothing");
        // An error type or the like that has not occurred yet must have a series all the same.
        for selector in selectors {
            if prometheus.series(&selector)? == 0 {
                missing.push(format!("{place}: {selector}"));
            }
        }
    }
    Ok(missing)
}

#[test]
fn promtool_finds_no_fault() -> Result<()> {
    promtool(&["check", "config", "prometheus.yml"])?;
    let checked = promtool(&["check", "rules", "rules.yml", "alerts.yml"])?;
    assert_eq!(checked.matches("SUCCESS").count(), 2, "{checked}");
    let tested = promtool(&["test", "rules", "alerts_test.yml"])?;
    assert!(tested.contains("SUCCESS"), "{tested}");
    Ok(())
}

#[test]
fn every_alert_says_what_to_do_and_is_tested() -> Result<()> {
    let rules = Prometheus::start(NOBODY)?.rules()?;
    let documented = document("dashboards.md")?;
    let tests = fs::read_to_string(workspace::root().join("deploy/prometheus/alerts_test.yml"))?;
    let alerts: Vec<_> = rules.iter().filter(|rule| rule.is_alert).collect();
    assert!(!alerts.is_empty());
    for alert in alerts {
        let name = &alert.name;
        let severity = &alert.definition["labels"]["severity"];
        assert!(severity == "critical" || severity == "warning", "{name}: severity {severity}");
        for annotation in ["summary", "description", "runbook"] {
            assert!(alert.definition["annotations"][annotation].is_string(), "{name}: no {annotation}");
        }
        assert!(documented.contains(&format!("`{name}`")), "{name} is not in docs/dashboards.md");
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "{name} is not in alerts_test.yml");
    }
    Ok(())
}

#[test]
fn metrics_are_documented_and_shown() -> Result<()> {
    let documented = names_in(&document("metrics.md")?);
    let not_shown = document("dashboards.md")?;
    let not_shown = names_in(not_shown.split_once("## Not shown").context("dashboards.md: no `## Not shown`")?.1);

    let mut used = BTreeSet::new();
    let mut unknown = Vec::new();
    let mut look_at = |place: String, expression: &str| {
        for metric in promql::metrics(expression) {
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|part| metric.strip_suffix(part));
            let family = family.filter(|family| documented.contains(*family)).unwrap_or(&metric).to_owned();
            // Prometheus' own, and what the rules record: the latter is asked for where there is an agent.
            if family != "up" && !family.contains(':') && !documented.contains(&family) {
                unknown.push(format!("{place}: {metric}"));
            }
            used.insert(family);
        }
    };
    for expression in Dashboard::all()?.iter().map(Dashboard::expressions).collect::<Result<Vec<_>>>()?.concat() {
        look_at(expression.to_string(), &expression.filled("agent"));
    }
    for rule in Prometheus::start(NOBODY)?.rules()? {
        look_at(rule.name, &rule.expression);
    }
    assert!(unknown.is_empty(), "not in docs/metrics.md:\n{}", unknown.join("\n"));
    let unused: Vec<_> = documented.iter().filter(|name| name.starts_with("log_capturer_")).collect();
    let unused: Vec<_> =
        unused.into_iter().filter(|name| !used.contains(*name) && !not_shown.contains(*name)).collect();
    assert!(unused.is_empty(), "in no dashboard, no rule, and not named under `Not shown`: {unused:?}");
    Ok(())
}

#[test]
fn dashboards_are_complete_and_stay_the_same() -> Result<()> {
    let dashboards = Dashboard::all()?;
    let uids: BTreeSet<_> = dashboards.iter().map(|dashboard| dashboard.json["uid"].as_str()).collect();
    assert!(!uids.contains(&None) && uids.len() == dashboards.len(), "each dashboard has a uid of its own: {uids:?}");
    for dashboard in &dashboards {
        let file = &dashboard.file;
        // One way to print them: what an export changes is then all that a diff shows.
        let printed = serde_json::to_string_pretty(&dashboard.json)? + "\n";
        assert!(printed == dashboard.text, "{file}: print it with sorted keys and two spaces (`jq --sort-keys .`)");
        assert_eq!(dashboard.json["schemaVersion"], 39, "{file}");
        assert!(dashboard.json["id"].is_null(), "{file}: the id is Grafana's to give");
        for counted in ["version", "iteration"] {
            assert!(dashboard.json.get(counted).is_none(), "{file}: {counted} changes with each save");
        }
        let mut ids = BTreeSet::new();
        for panel in dashboard.panels() {
            let place = format!("{file}, {}", panel["title"]);
            assert!(ids.insert(panel["id"].as_u64().with_context(|| format!("{place}: no id"))?), "{place}: id taken");
            for text in [&panel["description"], &panel["fieldConfig"]["defaults"]["unit"]] {
                assert!(text.as_str().is_some_and(|text| !text.is_empty()), "{place}: no description or no unit");
            }
            let targets = panel["targets"].as_array().with_context(|| format!("{place}: no targets"))?;
            assert!(!targets.is_empty(), "{place}: draws nothing");
            for source in targets.iter().map(|target| &target["datasource"]).chain([&panel["datasource"]]) {
                assert_eq!(source["uid"], "${datasource}", "{place}");
            }
        }
        assert_no_overlap(dashboard);
        for Expression { place, text, .. } in dashboard.drawn() {
            assert!(text.contains("$instance"), "{file}, {place}: shows agents that were not chosen: {text}");
        }
    }
    Ok(())
}

/// Panels that overlap are moved by Grafana, each time to another place.
fn assert_no_overlap(dashboard: &Dashboard) {
    let mut taken = BTreeSet::new();
    for panel in dashboard.panels() {
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap_or_default();
        let title = &panel["title"];
        assert!(at("w") > 0 && at("h") > 0 && at("x") + at("w") <= 24, "{}, {title}: no place", dashboard.file);
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{}, {title}: covers another panel", dashboard.file);
            }
        }
    }
}

fn document(name: &str) -> Result<String> {
    fs::read_to_string(workspace::root().join("docs").join(name)).with_context(|| format!("docs/{name}"))
}

/// The metrics that a document lists: the first cell of a row of a table, or an item of a list.
fn names_in(document: &str) -> BTreeSet<String> {
    let begins = |line: &str| {
        let rest = line.strip_prefix("| `").or_else(|| line.strip_prefix("- `"))?;
        rest.split_once('`').map(|(name, _)| name.to_owned())
    };
    document.lines().filter_map(begins).collect()
}
