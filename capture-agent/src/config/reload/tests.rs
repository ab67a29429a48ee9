use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::*;
use crate::config::{Config, Problem, SinkConfig, Sinks};
use crate::sinks::console::ConsoleConfig;

const ONE: &str = "sinks:\n  out: {type: console}\n  all: {type: file, path: /x}\n";

/// Long enough for a test's own steps to fall between two looks, as a rule.
const INTERVAL: Duration = Duration::from_millis(100);

struct Place {
    directory: tempfile::TempDir,
    stats: Arc<ReloadStats>,
}

impl Place {
    fn new(text: &str) -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap(), stats: Arc::default() };
        place.write(text);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, text: &str) {
        // In one step: a look may fall between any two.
        fs::write(self.path("next"), text).unwrap();
        fs::rename(self.path("next"), self.path("config.yaml")).unwrap();
    }

    fn reloader(&self, overlay: fn(&mut Config) -> Vec<Problem>) -> Reloader {
        let file = ConfigFile::new(Some(self.path("config.yaml")), false);
        let mut reloader = Reloader::new(file, Box::new(overlay), Arc::clone(&self.stats)).ok().unwrap();
        reloader.interval = INTERVAL;
        reloader
    }

    fn counts(&self) -> (u64, u64) {
        (self.stats.successes(), self.stats.failures())
    }
}

fn nothing(_: &mut Config) -> Vec<Problem> {
    Vec::new()
}

#[expect(clippy::unnecessary_wraps, reason = "as what puts a change to work has it")]
fn accept(_: &Change) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    Ok(())
}

fn names(names: &[crate::config::SinkName]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// `added | removed | changed`
fn told(change: &Change) -> String {
    format!("{} | {} | {}", names(&change.added), names(&change.removed), names(&change.changed))
}

#[test]
fn what_is_different_is_told_by_the_names_of_sinks() {
    let place = Place::new(ONE);
    let mut reloader = place.reloader(nothing);
    for (text, expected) in [
        (ONE, " |  | "),
        ("# a comment\nsinks:\n  all:\n    path: '/x'\n    type: file\n  out: {type: console}\n", " |  | all"),
        ("sinks:\n  all: {type: file, path: '/x'}\n  out: {type: console, encoding: text}\n", " |  | out"),
        ("sinks:\n  all: {type: file, path: '/x'}\n  new: {type: console}\n", "new | out | "),
        ("", "default | all new | "),
        ("sinks: {default: {type: console, encoding: text}}", " |  | default"),
        ("admin: {listen: '127.0.0.1:8001'}", " |  | default"),
    ] {
        place.write(text);
        assert_eq!(told(&reloader.reload(&mut accept).unwrap()), expected, "{text}");
    }
    assert_eq!(place.counts(), (7, 0));
}

#[test]
fn what_is_put_to_work_is_asked_only_when_something_is_different() {
    let place = Place::new(ONE);
    let mut reloader = place.reloader(nothing);
    let mut asked = Vec::new();
    let mut apply = |change: &Change| {
        asked.push(change.config.sinks.0.len());
        Ok(())
    };
    reloader.reload(&mut apply).unwrap();
    place.write("sinks: {out: {type: console}}");
    reloader.reload(&mut apply).unwrap();
    reloader.reload(&mut apply).unwrap();
    assert_eq!(asked, [1]);
}

#[test]
fn a_bad_file_is_refused_and_the_old_one_stays() {
    let place = Place::new(ONE);
    let mut reloader = place.reloader(nothing);
    let before = place.stats.last_success();
    std::thread::sleep(Duration::from_millis(2));
    place.write("sinks:\n  out: {type: consol}\n");
    let error = reloader.reload(&mut accept).unwrap_err();
    let expected = "config.yaml:2:15: sinks.out.type: expected `console`, `file`, `loki`, `otlp` or `kafka`, found `consol`; \
                    did you mean `console`?";
    assert!(error.to_string().ends_with(expected), "{error}");
    assert_eq!((place.counts(), place.stats.last_success()), ((0, 1), before));
    fs::remove_file(place.path("config.yaml")).unwrap();
    let error = reloader.reload(&mut accept).unwrap_err();
    assert!(error.to_string().contains("config.yaml: cannot be read"), "{error}");
    // Against the one that holds, and not against one that was refused.
    place.write(&ONE.replace("/x", "/y"));
    assert_eq!(told(&reloader.reload(&mut accept).unwrap()), " |  | all");
    assert_eq!(place.counts(), (1, 2));
    assert!(place.stats.last_success() > before);
}

#[test]
fn what_only_a_start_can_change_is_refused_with_all_else() {
    let place = Place::new(ONE);
    let mut reloader = place.reloader(nothing);
    let other = "capture: {ring_size: 1MiB, side: relay}\ndocker: {deadline: 9s}\nadmin: {bpf_stats: true}\n";
    place.write(&format!("{other}sinks: {{out: {{type: console}}}}"));
    let error = reloader.reload(&mut |_| panic!("not to be put to work")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "capture.ring_size, capture.side, docker.deadline, admin.bpf_stats can change at a start only; restart the agent, \
         or take the change back"
    );
    // What is said in other words is no change.
    place.write(&format!("capture: {{ring_size: 32768KiB, rotation_interval: 30000ms}}\n{ONE}"));
    assert!(reloader.reload(&mut accept).unwrap().is_empty());
}

#[test]
fn what_cannot_be_put_to_work_is_refused() {
    let place = Place::new(ONE);
    let mut reloader = place.reloader(nothing);
    place.write("sinks: {out: {type: console}}");
    let error = reloader.reload(&mut |_| Err("sinks.out: no such host".into())).unwrap_err();
    assert_eq!((error.to_string().as_str(), place.counts()), ("sinks.out: no such host", (0, 1)));
    assert_eq!(told(&reloader.reload(&mut accept).unwrap()), " | all | ");
}

#[test]
fn sinks_that_a_flag_gives_are_not_the_files() {
    let place = Place::new(ONE);
    let mut reloader = place.reloader(|config| {
        config.sinks =
            Sinks::one(SinkConfig::Console(ConsoleConfig { gap_marker: "x".to_owned(), ..Default::default() }));
        Vec::new()
    });
    place.write("sinks: {default: {type: console, encoding: text}}");
    assert!(reloader.reload(&mut accept).unwrap().is_empty());
}

#[test]
fn what_a_named_file_holds_is_part_of_a_sink() {
    let place = Place::new("");
    let token = place.path("token");
    fs::write(&token, "hunter2").unwrap();
    // No sink of this crate's own names a file, so a document stands for one that does.
    let document = |text: &str| crate::config::yaml::parse(text).ok().unwrap();
    let text = format!("sinks:\n  a: {{token_file: {}}}\n  b: {{url: x}}\n", token.display());
    let loaded = || {
        let config = Config { sinks: sinks_called(["a", "b"]), ..Config::default() };
        Loaded { config, file: None, document: document(&text) }
    };
    let (old, old_files) = (loaded(), Fingerprint::of(&document(&text)));
    assert_eq!(old_files.files().collect::<Vec<_>>(), [token.as_path()]);
    let between = |files: &Fingerprint| told(&Change::between((&old, &old_files), (&loaded(), files)).unwrap());
    assert_eq!(between(&Fingerprint::of(&document(&text))), " |  | ");
    fs::write(&token, "hunter3").unwrap();
    assert_eq!(between(&Fingerprint::of(&document(&text))), " |  | a");
    fs::remove_file(&token).unwrap();
    assert_eq!(between(&Fingerprint::of(&document(&text))), " |  | a");
}

fn sinks_called(names: [&str; 2]) -> Sinks {
    Sinks(names.map(|name| (name.parse().unwrap(), SinkConfig::Console(ConsoleConfig::default()))).into())
}

/// Waits for something that a task does.
async fn until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn it_reloads_when_asked_and_when_the_file_changes() {
    let place = Place::new(ONE);
    let (request, shutdown) = (Arc::new(Notify::new()), CancellationToken::new());
    let (applied, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(String::new())));
    let apply = {
        let (applied, seen) = (Arc::clone(&applied), Arc::clone(&seen));
        move |change: &Change| {
            *seen.lock().unwrap() = told(change);
            applied.fetch_add(1, Relaxed);
            Ok(())
        }
    };
    let task = tokio::spawn(place.reloader(nothing).run(Arc::clone(&request), true, apply, shutdown.clone()));
    // Nobody asks, and nothing changes.
    tokio::time::sleep(INTERVAL * 2).await;
    assert_eq!(place.counts(), (0, 0));
    request.notify_one();
    until("the reload that was asked for", || place.counts() == (1, 0)).await;
    assert_eq!(applied.load(Relaxed), 0);

    place.write("sinks: {out: {type: console}}");
    until("the change", || applied.load(Relaxed) == 1).await;
    assert_eq!(*seen.lock().unwrap(), " | all | ");
    place.write("sinks: [");
    until("the refusal", || place.counts() == (2, 1)).await;
    // One change, one reload.
    tokio::time::sleep(INTERVAL * 3).await;
    assert_eq!(place.counts(), (2, 1));
    shutdown.cancel();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_a_reload_puts_away_may_be_a_runtime() {
    let place = Place::new(ONE);
    let (request, shutdown) = (Arc::new(Notify::new()), CancellationToken::new());
    let apply = |_: &Change| -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        // As a sink over a network does whose turn never came before it was replaced.
        drop(tokio::runtime::Builder::new_current_thread().build()?);
        Ok(())
    };
    let task = tokio::spawn(place.reloader(nothing).run(Arc::clone(&request), false, apply, shutdown.clone()));
    for (text, count) in [("sinks: {out: {type: console}}", 1), (ONE, 2)] {
        place.write(text);
        request.notify_one();
        until("the reload", || place.counts() == (count, 0)).await;
    }
    shutdown.cancel();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_file_that_is_not_watched_may_change() {
    let place = Place::new(ONE);
    let (request, shutdown) = (Arc::new(Notify::new()), CancellationToken::new());
    let task = tokio::spawn(place.reloader(nothing).run(request, false, accept, shutdown.clone()));
    place.write("");
    tokio::time::sleep(INTERVAL * 3).await;
    assert_eq!(place.counts(), (0, 0));
    shutdown.cancel();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_named_file_is_watched_for_as_long_as_it_is_named() {
    let place = Place::new("");
    let token = place.path("token");
    fs::write(&token, "hunter2").unwrap();
    let (request, shutdown) = (Arc::new(Notify::new()), CancellationToken::new());
    let mut reloader = place.reloader(nothing);
    // As after a reload that brought the file in: no sink of this crate's own names one.
    let text = format!("sinks: {{a: {{token_file: {}}}}}", token.display());
    reloader.fingerprint = Fingerprint::of(&crate::config::yaml::parse(&text).ok().unwrap());
    reloader.watch = Watch::new(watch::look(reloader.files()));
    assert_eq!(reloader.files().count(), 2);
    let task = tokio::spawn(reloader.run(request, true, accept, shutdown.clone()));
    tokio::time::sleep(INTERVAL * 3).await;
    assert_eq!(place.counts(), (0, 0));
    fs::write(&token, "hunter33").unwrap();
    until("the reload", || place.counts() == (1, 0)).await;
    // The file names it no more, and that is no change of its own.
    tokio::time::sleep(INTERVAL * 4).await;
    assert_eq!(place.counts(), (1, 0));
    shutdown.cancel();
    task.await.unwrap();
}
