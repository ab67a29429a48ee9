//! The page, in a real browser.

use std::time::Duration;

use anyhow::{Context, Result};
use capture_tests::poll::{DEADLINE, eventually};
use capture_tests::{Agent, Attach, Container, engine};
use serde_json::Value;

use crate::browser::Browser;
use crate::fleet::{self, Cgroups, Fleet};

/// Log contents, a name of a label, a value: all of it from somebody who means ill.
const HOSTILE: &str = "<img src=x onerror=\"document.title=1\"><script>document.title=2</script>";

/// Frames of an update may take no longer, for all but one in twenty, in milliseconds.
const UPDATE: f64 = 100.0;

fn url(agent: &Agent) -> String {
    format!("http://{}/", agent.address())
}

fn rows() -> &'static str {
    "document.querySelectorAll('#rows tr').length"
}

#[test]
fn it_shows_containers_and_lines_and_hears_keys() -> Result<()> {
    let engine = engine::ensure()?;
    let agent = Agent::start(Attach::Raw, &[])?;
    let busy = Container::start(&engine, "busy", "while :; do seq 1 100; sleep 0.2; done")?;
    let script = format!("while :; do echo 'needle {HOSTILE}'; echo plain; echo bad >&2; sleep 0.3; done");
    let hostile = Container::builder(&engine, "hostile")?
        .options(["--label", &format!("team={HOSTILE}")])
        .start(&["sh", "-c", &script])?;
    let mut browser = Browser::start(1280, 800)?;
    browser.open(&url(&agent))?;
    let has_row =
        |name: &str| format!("[...document.querySelectorAll('#rows tr')].some(r => r.textContent.includes('{name}'))");
    browser.until("the busy one", &has_row(busy.name()))?;
    browser.until("the other one", &has_row(hostile.name()))?;
    browser.until("the agent", "document.getElementById('state').textContent === 'capturing'")?;
    browser.until("the sink", "document.getElementById('sinks').textContent.includes('default')")?;
    browser.until("the socket", "document.getElementById('docker').textContent.startsWith('up')")?;
    browser.until("a sparkline", "document.querySelector('#rows path').getAttribute('d')?.length > 20")?;
    browser.until("lines", "document.querySelectorAll('#log .record').length > 20")?;
    let first = browser.value("document.querySelector('#rows tr').textContent")?;
    assert!(first.as_str().is_some_and(|text| text.contains(busy.name())), "the busy one first: {first}");

    // By keys: the second row, alone.
    for key in ["j", "j", "Enter"] {
        browser.press(key)?;
    }
    browser.until(
        "its lines alone",
        &format!(
            "(() => {{ const all = [...document.querySelectorAll('#log .name')].map(n => n.textContent); \
             return all.length > 5 && all.every(n => n === '{}'); }})()",
            hostile.name()
        ),
    )?;
    // Text stays text.
    assert_eq!(browser.value("document.querySelectorAll('#log img, #log script, #rows img').length")?, 0);
    assert_eq!(browser.value("document.title")?, "capture-agent");
    let shown = browser.value("[...document.querySelectorAll('#log .message')].map(n => n.textContent).join('\\n')")?;
    assert!(shown.as_str().is_some_and(|text| text.contains(&format!("needle {HOSTILE}"))), "{shown}");
    let title = browser.value("[...document.querySelectorAll('#rows td')].map(n => n.title).join('\\n')")?;
    assert!(title.as_str().is_some_and(|text| text.contains(&format!("team={HOSTILE}"))), "{title}");
    assert_eq!(browser.value("document.querySelectorAll('#log .stderr').length > 0")?, true);

    browser.press("/")?;
    for key in "needle".chars() {
        browser.press(&key.to_string())?;
    }
    browser.until(
        "what was searched for, marked",
        "(() => { const all = [...document.querySelectorAll('#log .record')]; \
         return all.length > 2 && all.every(r => r.querySelector('mark')?.textContent === 'needle'); })()",
    )?;
    browser.press("Escape")?;
    browser.until("all lines again", "!document.querySelector('#log mark')")?;
    browser.press("Escape")?;
    browser.until("all containers again", "document.getElementById('of').textContent === 'all containers'")?;
    browser.press("p")?;
    browser.until("that it is paused", "document.getElementById('pause').textContent === 'go on'")?;
    browser.press("t")?;
    browser.until("the other theme", "document.documentElement.dataset.theme !== undefined")?;
    assert_eq!(browser.complaints()?, [] as [String; 0]);

    // The policy holds against what gets in all the same.
    let foreign = "new Promise((told) => { document.addEventListener('securitypolicyviolation', (e) => told(e.effectiveDirective)); \
                   fetch('http://127.0.0.1:1/').then(() => told('sent'), () => setTimeout(() => told('failed'), 1000)); })";
    assert_eq!(browser.value(foreign)?, "connect-src");
    let inline = "(() => { const s = document.createElement('div'); try { s.innerHTML = '<b>x</b>'; return 'made'; } catch { return 'refused'; } })()";
    assert_eq!(browser.value(inline)?, "refused");
    agent.terminate()?;
    browser.until("that nobody answers", "document.getElementById('state').textContent === 'no answer'")
}

#[test]
fn what_is_lost_is_red() -> Result<()> {
    let engine = engine::ensure()?;
    let agent = Agent::start(Attach::Raw, &["--ring-size", "256KiB"])?;
    let whole = Container::start(&engine, "whole", "while :; do echo line; sleep 0.2; done")?;
    // One write that is larger than the ring.
    let loses = Container::builder(&engine, "loses")?.options(["--log-driver", "none"]).start(&[
        "sh",
        "-c",
        "while :; do yes | dd bs=2M count=1 iflag=fullblock 2>/dev/null; sleep 0.3; done",
    ])?;
    let mut browser = Browser::start(1280, 800)?;
    browser.open(&url(&agent))?;
    let red = |name: &str| {
        format!(
            "[...document.querySelectorAll('#rows tr')].some(r => r.textContent.includes('{name}') \
             && getComputedStyle(r.cells[5]).color === getComputedStyle(document.querySelector('#lost')).color \
             && r.cells[5].classList.contains('bad') && r.cells[5].textContent !== '0')"
        )
    };
    browser.until("the loss in red", &red(loses.name()))?;
    browser
        .until("the other one", &format!("document.getElementById('rows').textContent.includes('{}')", whole.name()))?;
    assert_eq!(browser.value(&red(whole.name()))?, false);
    Ok(())
}

#[test]
fn it_asks_for_the_token() -> Result<()> {
    let engine = engine::ensure()?;
    let files = tempfile::tempdir()?;
    let token = files.path().join("token");
    std::fs::write(&token, "open sesame\n")?;
    let agent = Agent::start(Attach::Raw, &["--token-file", &token.display().to_string()])?;
    let container = Container::start(&engine, "guarded", "while :; do echo here; sleep 0.2; done")?;
    let mut browser = Browser::start(1000, 700)?;
    browser.open(&url(&agent))?;
    browser.until("the question", "!document.getElementById('token').hidden")?;
    assert_eq!(browser.value(rows())?, 0);
    let give = |token: &str| {
        format!(
            "document.querySelector('#token input').value = '{token}'; document.querySelector('#token button').click(); true"
        )
    };
    browser.value(&give("wrong"))?;
    browser.until("the refusal", "document.getElementById('refused').textContent.includes('not the one')")?;
    browser.value(&give("open sesame"))?;
    browser.until(
        "the container",
        &format!("document.getElementById('rows').textContent.includes('{}')", container.name()),
    )?;
    browser.until("lines", "document.getElementById('log').textContent.includes('here')")?;
    browser.until("the question to be gone", "document.getElementById('token').hidden")
}

#[test]
fn an_update_of_two_hundred_containers_takes_no_time() -> Result<()> {
    // Commands in cgroups of their own: for the kernel side they are containers, and an engine takes minutes for as many.
    let _members = Cgroups::start(200, "while :; do i=$((i+1)); echo line $i of $0; read -t 1; done")?;
    let agent = Agent::start(Attach::Raw, &[])?;
    eventually("all to be captured", DEADLINE, || {
        let active = agent.metrics().ok()?.get("log_capturer_active_streams").copied()?;
        (active >= 200.0).then_some(())
    })?;
    let mut browser = Browser::start(1280, 900)?;
    browser.open(&url(&agent))?;
    browser.until("all of them", &format!("{} >= 200", rows()))?;
    // One a second: they take as long as there are of them.
    let updates = "performance.getEntriesByName('update').length >= 30";
    browser.until_within("thirty updates", updates, DEADLINE + Duration::from_secs(30))?;
    let durations = browser.value("performance.getEntriesByName('update').slice(1).map(e => e.duration)")?;
    let mut durations: Vec<_> = durations.as_array().context("no updates")?.iter().filter_map(Value::as_f64).collect();
    durations.sort_by(f64::total_cmp);
    let at = |percent: usize| durations[(durations.len() - 1) * percent / 100];
    let rows = browser.value(rows())?;
    println!(
        "{rows} containers, {} updates from answer to painted frame: p50 {:.1} ms, p95 {:.1} ms, most {:.1} ms",
        durations.len(),
        at(50),
        at(95),
        at(100)
    );
    assert!(at(95) < UPDATE, "p95 {:.1} ms: {durations:?}", at(95));
    assert_eq!(browser.complaints()?, [] as [String; 0]);
    Ok(())
}

#[test]
fn pictures_of_twenty_containers_on_the_page() -> Result<()> {
    let fleet = Fleet::start(20)?;
    let agent = Agent::start(Attach::Raw, &["--docker-host", &fleet.host()])?;
    let mut browser = Browser::start(1280, 1180)?;
    browser.prefer("dark")?;
    browser.open(&url(&agent))?;
    browser.until("all of them", &format!("{} === 20", rows()))?;
    std::thread::sleep(fleet::scene());
    for name in fleet.names() {
        assert_eq!(
            browser.value(&format!("document.getElementById('rows').textContent.includes('{name}')"))?,
            true,
            "{name}"
        );
    }
    browser.press("j")?;
    fleet::keep("page-dark.png", &browser.screenshot()?)?;
    browser.prefer("light")?;
    fleet::keep("page-light.png", &browser.screenshot()?)?;
    assert_eq!(browser.complaints()?, [] as [String; 0]);
    Ok(())
}
