use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::containers::directory::Metadata;
use crate::pipeline::record::Attributes;

fn metadata(name: &str, image: &str, labels: &[(&str, &str)]) -> Metadata {
    let labels: BTreeMap<_, _> = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Metadata { id: "ab".repeat(32), name: name.to_owned(), image: image.to_owned(), labels }
}

fn origin(metadata: Option<Metadata>) -> Arc<Origin> {
    Arc::new(Origin::new("ab".repeat(32).into(), metadata.map(Arc::new), Arc::default()))
}

fn record(origin: &Arc<Origin>, stream: Stream, level: Option<Level>) -> Record {
    Record {
        origin: Arc::clone(origin),
        stream,
        timestamp: 0,
        completed: 0,
        position: 0,
        content: Content::Line { message: Bytes::new(), newline: true, partial: false, omitted: 0 },
        attributes: level.map(|level| Box::new(Attributes { level: Some(level), ..Attributes::default() })),
    }
}

/// Names of those that a selection takes, of some containers.
fn taken(config: serde_json::Value) -> Vec<&'static str> {
    let selection = serde_json::from_value::<SelectConfig>(config).unwrap().build().unwrap();
    let all = [
        ("web-1", "nginx:1.25", &[("com.docker.compose.project", "shop"), ("tier", "front")][..]),
        ("web-2", "registry.local/shop/web:7", &[("tier", "front"), ("capture.include", "true")]),
        ("db", "postgres:16", &[("com.docker.compose.project", "shop"), ("tier", "")]),
        ("noisy", "busybox", &[("capture.exclude", "True"), ("capture.include", "true")]),
    ];
    let takes = |(name, image, labels): &(&'static str, &str, &[(&str, &str)])| {
        selection.takes_container(&origin(Some(metadata(name, image, labels)))).then_some(*name)
    };
    all.iter().filter_map(takes).collect()
}

#[test]
fn all_are_taken_but_those_that_say_no() {
    assert_eq!(taken(json!({})), ["web-1", "web-2", "db"]);
}

#[test]
fn each_kind_of_pattern_includes_and_excludes() {
    for (patterns, matching, others) in [
        (json!({"names": ["web-*", "x"]}), &["web-1", "web-2"][..], &["db"][..]),
        (json!({"names": ["web-?"]}), &["web-1", "web-2"], &["db"]),
        (json!({"names": ["web"]}), &[], &["web-1", "web-2", "db"]),
        (json!({"images": ["*/web:*", "postgres:*"]}), &["web-2", "db"], &["web-1"]),
        (json!({"labels": {"tier": "front"}}), &["web-1", "web-2"], &["db"]),
        (json!({"labels": {"tier": "*"}}), &["web-1", "web-2", "db"], &[]),
        (json!({"labels": {"none": "*", "tier": ""}}), &["db"], &["web-1", "web-2"]),
        (json!({"compose_projects": ["sh*"]}), &["web-1", "db"], &["web-2"]),
    ] {
        assert_eq!(taken(json!({"include": patterns})), matching, "include {patterns}");
        assert_eq!(taken(json!({"exclude": patterns})), others, "exclude {patterns}");
    }
}

#[test]
fn kinds_add_up_to_a_stricter_inclusion_and_a_wider_exclusion() {
    let patterns = json!({"names": ["web-*"], "compose_projects": ["shop"]});
    assert_eq!(taken(json!({"include": patterns})), ["web-1"]);
    assert_eq!(taken(json!({"exclude": patterns})), [""; 0]);
    assert_eq!(taken(json!({"include": {"names": ["web-*"]}, "exclude": {"images": ["nginx*"]}})), ["web-2"]);
}

#[test]
fn in_reverse_mode_nothing_is_taken_without_a_reason() {
    assert_eq!(taken(json!({"mode": "include"})), ["web-2"]);
    assert_eq!(taken(json!({"mode": "include", "include": {"names": ["db"]}})), ["web-2", "db"]);
    assert_eq!(taken(json!({"mode": "include", "exclude": {"labels": {"tier": "front"}}})), [""; 0]);
}

#[test]
fn a_container_that_nothing_is_known_of_is_taken_unless_that_needs_a_reason() {
    let takes = |config: serde_json::Value| {
        let selection = serde_json::from_value::<SelectConfig>(config).unwrap().build().unwrap();
        selection.takes_container(&origin(None))
    };
    assert!(takes(json!({})));
    assert!(takes(json!({"exclude": {"names": ["*"]}})));
    assert!(!takes(json!({"include": {"names": ["*"]}})));
    assert!(!takes(json!({"mode": "include"})));
}

#[test]
fn the_agents_own_container_is_left_out() {
    let selection = SelectConfig::default().build().unwrap();
    assert!(selection.takes_container(&origin(None)));
    assert!(!selection.leave_out(&"ab".repeat(32)).takes_container(&origin(None)));
}

#[test]
fn a_filter_looks_at_streams_and_levels_too() {
    let filter = |config: serde_json::Value| serde_json::from_value::<FilterConfig>(config).unwrap().build().unwrap();
    let origin = origin(Some(metadata("web", "nginx", &[])));
    let (out, err) = (record(&origin, Stream::Stdout, None), record(&origin, Stream::Stderr, None));

    let mut both = filter(json!({}));
    assert!(both.takes(&out) && both.takes(&err));
    let mut errors = filter(json!({"streams": ["stderr"]}));
    assert!(!errors.takes(&out) && errors.takes(&err));
    let mut others = filter(json!({"exclude": {"names": ["web"]}, "streams": ["stdout"]}));
    assert!(!others.takes(&out));

    let mut severe = filter(json!({"min_level": "warn"}));
    let mut takes = |level| severe.takes(&record(&origin, Stream::Stdout, level));
    assert!(takes(Some(Level::Warn)) && takes(Some(Level::Fatal)) && !takes(Some(Level::Info)));
    assert!(takes(None), "what is not known is not lost");
    let gap = Record { content: Content::Gap { bytes: 1, reason: None }, ..record(&origin, Stream::Stdout, None) };
    assert!(severe.takes(&gap));
}

#[test]
fn an_answer_holds_for_one_origin_only() {
    let config = json!({"include": {"names": ["even-*"]}});
    let mut selection = serde_json::from_value::<SelectConfig>(config).unwrap().build().unwrap();
    // Many more than are remembered; each goes before the next comes, so that an allocator would use its place again.
    for number in 0..3 * REMEMBERED {
        let is_even = number % 2 == 0;
        let name = if is_even { "even-x" } else { "odd-x" };
        let origin = origin(Some(metadata(name, "i", &[])));
        for _ in 0..2 {
            assert_eq!(selection.takes(&record(&origin, Stream::Stdout, None)), is_even, "{number}");
        }
        assert!(selection.known.len() <= REMEMBERED);
    }
    // As many that all live.
    let origins: Vec<_> = (0..REMEMBERED + 10).map(|_| origin(Some(metadata("even-x", "i", &[])))).collect();
    for origin in &origins {
        assert!(selection.takes(&record(origin, Stream::Stdout, None)));
        assert!(selection.known.len() <= REMEMBERED);
    }
}

#[test]
fn a_pattern_that_is_none_is_named() {
    let told = |config: serde_json::Value| {
        serde_json::from_value::<FilterConfig>(config).unwrap().build().unwrap_err().to_string()
    };
    let message = told(json!({"include": {"images": ["nginx", "a[b"]}}));
    assert!(message.starts_with("include.images: `a[b` is no pattern: unclosed character class"), "{message}");
    let message = told(json!({"exclude": {"labels": {"team": "{a"}}}));
    assert!(message.starts_with("exclude.labels.team: `{a` is no pattern: "), "{message}");
    assert!(serde_json::from_value::<SelectConfig>(json!({"streams": []})).is_err(), "that is for filters");
    assert!(serde_json::from_value::<FilterConfig>(json!({"stream": []})).is_err());
}
