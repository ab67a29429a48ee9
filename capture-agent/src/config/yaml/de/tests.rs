use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::*;
use crate::config::units::{Period, RingSize, Size};
use crate::config::yaml::{Interpolation, interpolate, parse};

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Top {
    count: u16,
    signed: i32,
    share: f64,
    on: bool,
    name: String,
    path: Option<PathBuf>,
    listen: Option<SocketAddr>,
    list: Vec<String>,
    labels: BTreeMap<String, String>,
    pause: Option<Period>,
    #[serde(deserialize_with = "bounded")]
    bounded: Option<Period>,
    size: Option<Size>,
    ring: Option<RingSize>,
    color: Color,
    sinks: BTreeMap<String, Kind>,
    any: serde_json::Value,
}

fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Period>, D::Error> {
    Period::deserialize_between::<D, 1000, 60_000>(deserializer).map(Some)
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Color {
    #[default]
    Red,
    DarkBlue,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Null,
    File(File),
    Net { port: u16 },
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    path: String,
    #[serde(default)]
    batch: Batch,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Batch {
    timeout: Option<Period>,
    max_bytes: Option<Size>,
}

fn top(text: &str) -> Result<Top, Vec<String>> {
    let mut root = parse(text).map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let variable = |name: &str| (name == "SECRET").then(|| "hunter2".to_owned());
    interpolate(&mut root, &Interpolation::From(&variable)).map_err(|problems| vec![problems[0].to_string()])?;
    read(&root).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn only_problem(text: &str) -> String {
    let problems = top(text).expect_err(text);
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.into_iter().next().unwrap()
}

#[test]
fn reads_everything_that_a_configuration_has() {
    let read = top("count: 3\nsigned: -4\nshare: 0.5\non: true\nname: web\npath: /a b\nlisten: '[::1]:80'\n\
                    list: [a, 1, true]\nlabels:\n  com.docker.x: 8\npause: 1h30m\nbounded: 1s\nsize: 4096\nring: 1MiB\n\
                    color: dark_blue\nsinks:\n  a: {type: file, path: x, batch: {timeout: 2s}}\n  \
                    b:\n    port: 1\n    type: net\n  c: {type: 'null'}\nany: [1, -1, 1.5, x, true, ~, {a: b}]\n")
    .unwrap();
    let expected = Top {
        count: 3,
        signed: -4,
        share: 0.5,
        on: true,
        name: "web".to_owned(),
        path: Some("/a b".into()),
        listen: Some("[::1]:80".parse().unwrap()),
        list: ["a", "1", "true"].map(str::to_owned).into(),
        labels: [("com.docker.x".to_owned(), "8".to_owned())].into(),
        pause: Some("90m".parse().unwrap()),
        bounded: Some("1s".parse().unwrap()),
        size: Some(Size(4096)),
        ring: Some(RingSize(1 << 20)),
        color: Color::DarkBlue,
        sinks: [
            (
                "a".to_owned(),
                Kind::File(File {
                    path: "x".to_owned(),
                    batch: Batch { timeout: Some("2s".parse().unwrap()), max_bytes: None },
                }),
            ),
            ("b".to_owned(), Kind::Net { port: 1 }),
            ("c".to_owned(), Kind::Null),
        ]
        .into(),
        any: serde_json::json!([1, -1, 1.5, "x", true, null, {"a": "b"}]),
    };
    assert_eq!(read, expected);
}

#[test]
fn a_key_without_a_value_is_as_if_it_were_not_there() {
    assert_eq!(top("path:\nlist:\nlabels:\nsinks:\npause: ~\n"), Ok(Top::default()));
    assert_eq!(top(""), Ok(Top::default()));
    assert_eq!(only_problem("count:\n"), "1:1: count: expected a whole number from 0 to 65535, found nothing");
}

#[test]
fn an_unknown_key_is_told_with_the_nearest_one_that_is_known() {
    for (text, expected) in [
        ("cuont: 1", "1:1: unknown key `cuont`; did you mean `count`?"),
        ("\n  pauze: 1", "2:3: unknown key `pauze`; did you mean `pause`?"),
        ("Ring: 1", "1:1: unknown key `Ring`; did you mean `ring`?"),
        ("ring_size: 1", "1:1: unknown key `ring_size`; did you mean `ring`?"),
        (
            "sinks: {a: {type: file, path: x, batch: {max-bytes: 1}}}",
            "1:42: sinks.a.batch: unknown key `max-bytes`; did you mean `max_bytes`?",
        ),
        (
            "sinks:\n  a:\n    type: file\n    path: x\n    batch:\n      xyz: 1",
            "6:7: sinks.a.batch: unknown key `xyz`; the keys here are `timeout` and `max_bytes`",
        ),
        ("sinks: {a: {type: 'null', x: 1}}", "1:27: sinks.a: unknown key `x`; there is none here"),
    ] {
        assert_eq!(only_problem(text), expected);
    }
}

#[test]
fn a_wrong_value_is_told_with_its_field_and_what_would_be_right() {
    for (text, expected) in [
        ("count: x", "1:8: count: expected a whole number from 0 to 65535, found `x`"),
        ("count: '3'", "1:8: count: expected a whole number from 0 to 65535, found `3`"),
        ("count: 65536", "1:8: count: expected a whole number from 0 to 65535, found `65536`"),
        ("count: -1", "1:8: count: expected a whole number from 0 to 65535, found `-1`"),
        ("count: 1.5", "1:8: count: expected a whole number from 0 to 65535, found `1.5`"),
        ("share: much", "1:8: share: expected a number, found `much`"),
        ("on: yes", "1:5: on: expected true or false, found `yes`"),
        ("name: [a]", "1:7: name: expected text, found a list"),
        ("path: {a: b}", "1:7: path: expected a path, found a section of keys"),
        ("listen: here", "1:9: listen: invalid socket address syntax"),
        ("list: a", "1:7: list: expected a list, found `a`"),
        ("list: [a, [b]]", "1:11: list[1]: expected text, found a list"),
        ("labels: [a]", "1:9: labels: expected a section of keys, found a list"),
        ("labels: {a: {b: c}}", "1:13: labels.a: expected text, found a section of keys"),
        ("pause: 30", "1:8: pause: expected a length of time such as 500ms, 30s, 5m or 1h, found `30`"),
        ("pause: 0s", "1:8: pause: expected a length of time that is longer than zero, found `0s`"),
        ("pause: [1s]", "1:8: pause: expected a length of time such as 500ms, 30s, 5m or 1h, found a list"),
        ("bounded: 2m", "1:10: bounded: expected a length of time from 1s to 1m, found `2m`"),
        ("size: 3 MB", "1:7: size: expected a size such as 4096, 64KiB, 16MiB or 1GiB, found `3 MB`"),
        ("ring: 3MiB", "1:7: ring: expected a power of two from 256KiB to 1GiB, found `3MiB`"),
        ("color: dark_blu", "1:8: color: expected `red` or `dark_blue`, found `dark_blu`; did you mean `dark_blue`?"),
        ("color: 7", "1:8: color: expected `red` or `dark_blue`, found `7`"),
        ("color: [red]", "1:8: color: expected `red` or `dark_blue`, found a list"),
        ("sinks: {a: {path: x}}", "1:12: sinks.a: the key `type` is missing; it is `null`, `file` or `net`"),
        (
            "sinks: {a: {type: fiel, path: x}}",
            "1:19: sinks.a.type: expected `null`, `file` or `net`, found `fiel`; did you mean `file`?",
        ),
        ("sinks: {a: {type: [file]}}", "1:19: sinks.a.type: expected variant identifier, found a list"),
        ("sinks: {a: file}", "1:12: sinks.a: expected a section of keys, found one word"),
        ("sinks: {a: {type: file}}", "1:12: sinks.a: the key `path` is missing"),
        ("- a", "1:1: expected a section of keys, found a list"),
    ] {
        assert_eq!(only_problem(text), expected);
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once_in_the_order_of_the_file() {
    let text = "sinks:\n  a: {type: file, paht: x, batch: {timeout: 0s, max_bytes: x, y: 1}}\n  b: {type: loki, url: z}\n\
                count: many\nlist: [a, [b], c, {d: e}]\nliszt: 1\non: true\n";
    assert_eq!(
        top(text).unwrap_err(),
        [
            "2:19: sinks.a: unknown key `paht`; did you mean `path`?",
            "2:45: sinks.a.batch.timeout: expected a length of time that is longer than zero, found `0s`",
            "2:60: sinks.a.batch.max_bytes: expected a size such as 4096, 64KiB, 16MiB or 1GiB, found `x`",
            "2:63: sinks.a.batch: unknown key `y`; the keys here are `timeout` and `max_bytes`",
            "3:13: sinks.b.type: expected `null`, `file` or `net`, found `loki`",
            "4:8: count: expected a whole number from 0 to 65535, found `many`",
            "5:11: list[1]: expected text, found a list",
            "5:19: list[3]: expected text, found a section of keys",
            "6:1: unknown key `liszt`; did you mean `list`?",
        ]
    );
}

#[test]
fn what_a_variable_stands_for_is_never_told() {
    for (text, expected) in [
        ("count: ${SECRET}", "expected a whole number from 0 to 65535, found what `${SECRET}` stands for"),
        ("on: ${SECRET}", "expected true or false, found what `${SECRET}` stands for"),
        ("listen: ${SECRET}", "what `${SECRET}` stands for is not accepted"),
        (
            "pause: 3${SECRET}",
            "expected a length of time such as 500ms, 30s, 5m or 1h, found what `3${SECRET}` stands for",
        ),
        ("ring: ${SECRET}", "expected a size such as 4096, 64KiB, 16MiB or 1GiB, found what `${SECRET}` stands for"),
        ("color: ${SECRET}", "expected `red` or `dark_blue`, found what `${SECRET}` stands for"),
        ("list: ${SECRET}", "expected a list, found what `${SECRET}` stands for"),
        ("labels: ${SECRET}", "expected a section of keys, found what `${SECRET}` stands for"),
        ("sinks: {a: '${SECRET}'}", "expected `null`, `file` or `net`, found what `${SECRET}` stands for"),
        ("sinks: {a: {type: '${SECRET}'}}", "expected `null`, `file` or `net`, found what `${SECRET}` stands for"),
    ] {
        let problem = only_problem(text);
        assert!(problem.ends_with(expected), "{problem}");
        assert!(!problem.contains("hunter2"), "{problem}");
    }
}

#[test]
fn a_variable_may_stand_for_what_is_not_text() {
    let root = |text: &str, value: &'static str| {
        let mut root = parse(text).ok().unwrap();
        interpolate(&mut root, &Interpolation::From(&|_| Some(value.to_owned()))).ok().unwrap();
        read::<Top>(&root)
    };
    assert_eq!(root("count: ${X}", "7").unwrap().count, 7);
    assert!(root("on: ${X}", "true").unwrap().on);
    assert_eq!(root("name: ${X}", "a: {b: c}").unwrap().name, "a: {b: c}");
}
