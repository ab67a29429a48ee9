use bytes::Bytes;
use serde_json::json;

use super::*;

fn record(line: &[u8], partial: bool) -> Record {
    Record::of(Content::Line { message: Bytes::copy_from_slice(line), newline: !partial, partial, omitted: 0 })
}

fn read(formats: &[Format], detect_level: bool, line: &str) -> Option<Attributes> {
    let mut record = record(line.as_bytes(), false);
    Parser::new(formats.to_vec(), detect_level).read(&mut record);
    let is_unchanged = matches!(&record.content, Content::Line { message, .. } if message == line.as_bytes());
    assert!(is_unchanged, "the line itself stays");
    record.attributes.map(|attributes| *attributes)
}

/// The fields as one object, and its text, which has their order.
fn fields(format: Format, line: &str) -> Option<String> {
    let fields = read(&[format], false, line)?.fields;
    let members: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Some(members.join(" "))
}

fn level(line: &str) -> Option<Level> {
    read(&[], true, line)?.level
}

#[test]
fn an_object_gives_its_members_in_their_order() {
    let line = r#" {"ts":1.5,"level":"info","msg":"a\u0041","nested":{"b":[1,null,true]},"ts":2}  "#;
    let expected = r#"ts=2 level="info" msg="aA" nested={"b":[1,null,true]}"#;
    assert_eq!(fields(Format::Json, line).as_deref(), Some(expected));
}

#[test]
fn what_is_no_object_stays_plain() {
    for line in [
        "",
        "{}",
        "{",
        "text",
        "[1]",
        "\"a\"",
        "{\"a\":1",
        "{\"a\":1}}",
        "{\"a\":1} x {\"b\":2}",
        "{a:1}",
        "{\"a\":\"\u{1}\"}",
        "{\"a\":\"\\ud800\"}",
    ] {
        assert_eq!(fields(Format::Json, line), None, "{line}");
    }
    let mut record = record(b"{\"a\":\"\xff\"}", false);
    Parser::new(vec![Format::Json], true).read(&mut record);
    assert_eq!(record.attributes, None, "not UTF-8");
}

#[test]
fn what_is_too_much_stays_plain() {
    let deep = |depth| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(fields(Format::Json, &deep(32)).is_some());
    assert_eq!(fields(Format::Json, &deep(34)), None);
    assert_eq!(fields(Format::Json, &deep(100_000)), None, "and overflows no stack");
    let many = |count| (0..count).map(|number| format!("\"k{number}\":1")).collect::<Vec<_>>().join(",");
    assert!(fields(Format::Json, &format!("{{{}}}", many(256))).is_some());
    assert_eq!(fields(Format::Json, &format!("{{{}}}", many(257))), None);
    let pairs = |count| (0..count).map(|number| format!("k{number}=1")).collect::<Vec<_>>().join(" ");
    assert!(fields(Format::Logfmt, &pairs(256)).is_some());
    assert_eq!(fields(Format::Logfmt, &pairs(257)), None);
    let long = |length| format!("{{\"a\":\"{}\"}}", "x".repeat(length));
    assert!(fields(Format::Json, &long(LARGEST - 8)).is_some());
    assert_eq!(fields(Format::Json, &long(LARGEST - 7)), None);
    let mut piece = record(b"{\"a\":1}", true);
    Parser::new(vec![Format::Json], false).read(&mut piece);
    assert_eq!(piece.attributes, None, "a piece of a line");
}

#[test]
fn pairs_are_words_with_an_equals_sign() {
    for (line, expected) in [
        ("level=info msg=started", "level=\"info\" msg=\"started\""),
        ("a= b=\"\"\tc=x=y  d=ä", "a=\"\" b=\"\" c=\"x=y\" d=\"ä\""),
        ("msg=\"it is \\\"so\\\"\\n\" n=7", "msg=\"it is \\\"so\\\"\\n\" n=\"7\""),
        ("path=\"C:\\dir\" a=1 a=2", "path=\"C:\\\\dir\" a=\"2\""),
    ] {
        assert_eq!(fields(Format::Logfmt, line).as_deref(), Some(expected), "{line}");
    }
    for line in ["", "text", "a=b is so", "so is a=b", "=a", "a=\"b", "a=\"b\"c", "a=b\"c\"", "\"a\"=b", "a=1 b"] {
        assert_eq!(fields(Format::Logfmt, line), None, "{line}");
    }
}

#[test]
fn formats_are_tried_in_turn() {
    let both = [Format::Json, Format::Logfmt];
    assert_eq!(read(&both, false, "{\"a\":1}").unwrap().fields, [("a".to_owned(), json!(1))]);
    assert_eq!(read(&both, false, "a=1").unwrap().fields, [("a".to_owned(), json!("1"))]);
    assert_eq!(read(&both, false, "neither"), None);
}

#[test]
fn loggers_name_the_text_and_the_time_of_a_line_differently() {
    let attributes = |line: &str| read(&[Format::Json], false, line).unwrap();
    for line in [r#"{"a":"x","msg":"hello"}"#, r#"{"message":"hello","msg":"no"}"#, r#"{"msg":1,"message":"hello"}"#] {
        assert_eq!(attributes(line).message(), Some("hello"), "{line}");
    }
    assert_eq!(attributes(r#"{"msg":["hello"]}"#).message(), None);
    for (line, time) in [
        (r#"{"time":"2023-11-14T22:13:20.5Z"}"#, Some(1_700_000_000_500_000_000)),
        (r#"{"ts":"2023-11-14T23:13:20.5+01:00"}"#, Some(1_700_000_000_500_000_000)),
        (r#"{"ts":1700000000.5}"#, Some(1_700_000_000_500_000_000)),
        (r#"{"time":1700000000500}"#, Some(1_700_000_000_500_000_000)),
        (r#"{"@timestamp":"1700000000"}"#, Some(1_700_000_000_000_000_000)),
        (r#"{"time":1700000000500000000}"#, Some(1_700_000_000_500_000_000)),
        (r#"{"time":"soon"}"#, None),
        (r#"{"time":12}"#, None),
        (r#"{"a":1}"#, None),
    ] {
        assert_eq!(attributes(line).time(), time, "{line}");
    }
}

#[test]
fn fields_tell_the_level_by_name_and_number() {
    for (line, level) in [
        (r#"{"level":"info"}"#, Some(Level::Info)),
        (r#"{"Level":"Information"}"#, Some(Level::Info)),
        (r#"{"severity":"WARNING"}"#, Some(Level::Warn)),
        (r#"{"lvl":"eror","level":"dpanic"}"#, Some(Level::Fatal)),
        (r#"{"level":30}"#, Some(Level::Info)),
        (r#"{"level":"50"}"#, Some(Level::Error)),
        (r#"{"level":3}"#, Some(Level::Error)),
        (r#"{"level":-1}"#, None),
        (r#"{"level":"a name that is much too long"}"#, None),
        (r#"{"msg":"ERROR"}"#, None),
    ] {
        assert_eq!(read(&[Format::Json], false, line).unwrap().level, level, "{line}");
    }
    let told = |detect| read(&[Format::Json], detect, r#"{"log":"ERROR","msg":"[error] x"}"#).unwrap().level;
    assert_eq!((told(false), told(true)), (None, Some(Level::Error)), "the text is asked where fields are silent");
}

#[test]
fn a_text_tells_its_level() {
    use Level::{Debug, Error, Fatal, Info, Trace, Warn};
    for (line, expected) in [
        ("2024-05-01T10:00:00Z ERROR app: no", Error),
        ("2024-05-01 10:00:00.123  INFO 1 --- [main] c.e.Shop : ok", Info),
        ("[2024-05-01T10:00:00Z WARN  app] x", Warn),
        ("\u{1b}[2m2024-05-01T10:00:00Z\u{1b}[0m \u{1b}[34mDEBUG\u{1b}[0m x", Debug),
        ("\u{1b}[31mERROR\u{1b}[0m[0000] logrus", Error),
        ("ERRO[0000] logrus", Error),
        ("WARNING:root:python", Warn),
        ("2024/05/01 10:00:00 [error] 12#12: nginx", Error),
        ("[Wed May 01 10:00:00 2024] [core:notice] [pid 1] apache", Info),
        ("2024-05-01T10:00:00.1Z 0 [Warning] [MY-1] mysql", Warn),
        ("2024-05-01 10:00:00.1 UTC [1] LOG:  postgres", Info),
        ("2024-05-01 10:00:00.1 UTC [1] FATAL:  postgres", Fatal),
        ("[2024-05-01 10:00:00] production.ERROR: laravel", Error),
        ("E, [2024-05-01T10:00:00.715744 #19987] ERROR -- : ruby", Error),
        ("SEVERE: java.util.logging", Error),
        ("info: Microsoft.Hosting.Lifetime[0]", Info),
        ("fail: Microsoft.Hosting.Lifetime[0]", Error),
        ("time=\"2024-05-01T10:00:00Z\" level=warning msg=x", Warn),
        ("{\"time\":1,\"level\":\"debug\",\"msg\":\"x\"}", Debug),
        ("{\"level\":50,\"time\":1}", Error),
        ("10:00AM INF zerolog", Info),
        ("2024-05-01\tTRACE\tx", Trace),
        ("Error: boom", Error),
        ("warning: unused", Warn),
        ("panic: no stock", Fatal),
        ("<3>journal", Error),
        ("<30>1 2024-05-01T10:00:00Z host app - - - x", Info),
        ("E0501 10:00:00.000000       1 server.go:1] glog", Error),
        ("I0501 10:00:00.000000       1 server.go:1] ERROR in the message", Info),
        ("ERROR|x", Error),
    ] {
        assert_eq!(level(line), Some(expected), "{line}");
    }
}

#[test]
fn ordinary_words_are_no_levels() {
    for line in [
        "",
        "an error occurred",
        "no errors, no warnings",
        "GET /ERROR HTTP/1.1",
        "\"TRACE / HTTP/1.1\" 405",
        "ERRORS: 0",
        "MY_ERROR",
        "INFORMATION_SCHEMA",
        "TypeError: x",
        "level up",
        "level=",
        "the level is error",
        "<html>",
        "<1234>",
        "E1234 is a number",
        "CONFIG is read",
        "ÄERROR",
        "\u{1b}[",
    ] {
        assert_eq!(level(line), None, "{line}");
    }
    let late = format!("{} ERROR", "x".repeat(400));
    assert_eq!(level(&late), None, "a level stands before what it is the level of");
}

#[test]
fn a_level_is_read_from_any_bytes() {
    // Every cut of every line, and one byte replaced.
    for line in [&b"\x1b[31mERROR\x1b[0m level=\"warn\" <3> [info]"[..], b"<191>", b"I0101 00:00:", b"level\":\" 7"] {
        for end in 0..=line.len() {
            for replaced in 0..end {
                for byte in [0, b'[', 0x1b, 0xff, b'm', b'='] {
                    let mut line = line[..end].to_vec();
                    line[replaced] = byte;
                    let mut record = record(&line, false);
                    Parser::new(vec![Format::Json, Format::Logfmt], true).read(&mut record);
                    let unchanged = matches!(&record.content, Content::Line { message, .. } if *message == line);
                    assert!(unchanged);
                }
            }
        }
    }
}
