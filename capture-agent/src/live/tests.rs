use std::collections::BTreeMap;

use bytes::BytesMut;
use capture_common::Stream;
use tokio::time::timeout;

use super::*;
use crate::containers::directory::Metadata;
use crate::delivery::Fanout;
use crate::pipeline::record::{Content, Origin};

/// More than any of this takes on a machine that is busy.
const SOON: Duration = Duration::from_secs(20);

struct Stage {
    fanout: Fanout,
    live: Arc<Live>,
}

impl Stage {
    fn new(recent: u64) -> Self {
        let fanout = Fanout::new(Duration::ZERO);
        let live = LiveConfig { viewers_max: 3, recent }.build(fanout.taps(), Arc::default());
        Self { fanout, live }
    }

    fn pass(&self, records: Vec<Record>) {
        self.fanout.deliver(records, || false);
    }

    fn watch(&self, query: &Query, since_start: bool) -> Viewer {
        Viewer { pieces: self.live.watch(query.build().unwrap(), since_start).unwrap(), text: BytesMut::new() }
    }
}

struct Viewer {
    pieces: mpsc::Receiver<Bytes>,
    text: BytesMut,
}

impl Viewer {
    /// The next event but `hello` and comments: its name and its data.
    async fn next(&mut self) -> Option<(String, serde_json::Value)> {
        loop {
            if let Some(end) = self.text.windows(2).position(|two| two == b"\n\n") {
                let event = self.text.split_to(end + 2);
                let event = std::str::from_utf8(&event).unwrap();
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
                let data = serde_json::from_str(field("data: ")).unwrap_or_default();
                match field("event: ") {
                    "hello" => {}
                    "" if event.starts_with(':') => {}
                    name => return Some((name.to_owned(), data)),
                }
            } else {
                let piece = timeout(SOON, self.pieces.recv()).await.expect("nothing came")?;
                self.text.extend_from_slice(&piece);
            }
        }
    }

    async fn messages(&mut self, count: usize) -> Vec<String> {
        let mut messages = Vec::new();
        while messages.len() < count {
            let Some((_, data)) = self.next().await else { break };
            messages.push(data["message"].as_str().unwrap_or("?").to_owned());
        }
        messages
    }
}

fn origin(name: &str, labels: &[(&str, &str)]) -> Arc<Origin> {
    let labels: BTreeMap<_, _> = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let id = format!("{name:0>64}");
    let metadata = Metadata { id: id.clone(), name: name.to_owned(), image: "x".to_owned(), labels };
    Arc::new(Origin::new(id.into(), Some(Arc::new(metadata)), Arc::default()))
}

fn record(origin: &Arc<Origin>, stream: Stream, content: Content) -> Record {
    let origin = Arc::clone(origin);
    Record { origin, stream, timestamp: 7, completed: 0, position: 0, content, attributes: None }
}

fn line(origin: &Arc<Origin>, text: impl Into<Bytes>) -> Record {
    let content = Content::Line { message: text.into(), newline: true, partial: false, omitted: 0 };
    record(origin, Stream::Stdout, content)
}

fn lines(origin: &Arc<Origin>, text: &'static str) -> Record {
    let count = text.lines().count() as u32;
    record(origin, Stream::Stdout, Content::Lines { data: text.into(), count })
}

#[tokio::test]
async fn a_viewer_sees_what_it_asked_for_line_by_line() {
    let stage = Stage::new(0);
    let (web, db) = (origin("web-1", &[("team", "shop")]), origin("db", &[]));
    let query = |names: &[&str], labels: &[&str], stream: Option<&str>, grep: Option<&str>| Query {
        names: names.iter().map(ToString::to_string).collect(),
        labels: labels.iter().map(ToString::to_string).collect(),
        stream: stream.map(str::to_owned),
        grep: grep.map(str::to_owned),
    };
    let cases = [
        (query(&["web-*"], &[], None, None), &["a", "bee", "c", "gap"][..]),
        (query(&["*db"], &["team=*"], None, None), &[]),
        (query(&[], &["team=s?op"], None, Some("^b")), &["bee", "gap"]),
        (query(&["web-1", "db"], &[], None, Some("e{2}$")), &["bee", "gap", "free"]),
        (query(&[], &[], Some("stderr"), None), &["err"]),
        (query(&[&db.container_id], &[], Some("stdout"), None), &["free"]),
    ];
    for chunk in cases.chunks(3) {
        let mut viewers: Vec<_> = chunk.iter().map(|(query, _)| stage.watch(query, false)).collect();
        let gap = record(&web, Stream::Stdout, Content::Gap { bytes: 3, reason: None });
        let err = Record { stream: Stream::Stderr, ..line(&db, "err") };
        stage.pass(vec![lines(&web, "a\nbee\nc\n"), gap, line(&db, "free"), err]);
        // What comes last is seen by all: everything before it has been looked at.
        stage.live.stats.sent.store(0, Relaxed);
        for (viewer, (query, expected)) in viewers.iter_mut().zip(chunk) {
            let messages = viewer.messages(expected.len()).await;
            let shown: Vec<_> =
                messages.iter().map(|told| if told.starts_with("[capture-agent") { "gap" } else { told }).collect();
            assert_eq!(shown, *expected, "{query:?}");
            let more = timeout(LOOK * 3, viewer.next()).await;
            assert!(more.is_err(), "{query:?}: {more:?}");
        }
        drop(viewers);
        timeout(SOON, async {
            while stage.live.stats.viewers.load(Relaxed) > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("places are free again");
    }
}

#[tokio::test]
async fn a_viewer_that_does_not_read_is_told_what_it_missed_and_holds_up_nobody() {
    let stage = Stage::new(0);
    let web = origin("web", &[]);
    let mut slow = stage.watch(&Query::default(), false);
    let text = Bytes::from(vec![b'x'; 1000]);
    // Far more than rings and pieces hold.
    let (batches, each) = (60_u64, 1000_u64);
    for _ in 0..batches {
        stage.pass((0..each).map(|_| line(&web, text.clone())).collect());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (mut shown, mut dropped) = (0, 0);
    while shown + dropped < batches * each {
        match slow.next().await.expect("the stream goes on") {
            (name, data) if name == "dropped" => dropped += data["records"].as_u64().unwrap(),
            _ => shown += 1,
        }
    }
    assert_eq!(shown + dropped, batches * each);
    assert!(dropped > 0 && shown > 0, "{shown} {dropped}");
    assert_eq!(stage.live.stats.dropped.load(Relaxed), dropped);
    // It has caught up.
    stage.pass(vec![line(&web, "after")]);
    assert_eq!(slow.messages(1).await, ["after"]);
}

#[tokio::test]
async fn what_is_recent_comes_first_and_nothing_twice() {
    let stage = Stage::new(1 << 20);
    let web = origin("web", &[]);
    let recorder = tokio::spawn(Arc::clone(&stage.live).record());
    let numbered = |range: std::ops::Range<i64>| {
        range.map(|number| Record { timestamp: number, ..line(&web, number.to_string()) }).collect::<Vec<_>>()
    };
    stage.pass(numbered(0..10));
    tokio::time::sleep(RECORD * 2).await;
    stage.pass(numbered(10..20));
    let mut viewer = stage.watch(&Query::default(), true);
    let mut new = stage.watch(&Query::default(), false);
    stage.pass(numbered(20..30));
    let expected: Vec<_> = (0..30).map(|number| number.to_string()).collect();
    assert_eq!(viewer.messages(30).await, expected);
    assert_eq!(new.messages(10).await, expected[20..]);
    stage.live.end();
    assert_eq!(viewer.next().await.unwrap().0, "end");
    assert!(viewer.next().await.is_none());
    timeout(SOON, recorder).await.unwrap().unwrap();
}

#[test]
fn nothing_is_looked_at_while_nobody_looks() {
    let stage = Stage::new(0);
    let web = origin("web", &[]);
    let record = line(&web, "a");
    stage.pass(vec![record]);
    // The batch is gone: nobody has kept it.
    assert_eq!(Arc::strong_count(&web), 1);
}
