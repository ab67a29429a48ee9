use serde_json::json;

use super::*;
use crate::pipeline::record::Attributes;

fn record(line: &[u8]) -> Record {
    Record::of(Content::Line { message: Bytes::copy_from_slice(line), newline: true, partial: false, omitted: 1 })
}

fn rule(config: serde_json::Value) -> Redact {
    serde_json::from_value::<RedactConfig>(config).unwrap().build().unwrap()
}

#[track_caller]
fn assert_redacted(config: serde_json::Value, line: &[u8], expected: &[u8]) {
    let mut record = record(line);
    let bytes = record.stream_bytes();
    rule(config).apply(&mut record);
    let Content::Line { message, .. } = &record.content else { unreachable!("it was a line") };
    assert_eq!(message, expected, "{}", String::from_utf8_lossy(message));
    assert_eq!(record.stream_bytes(), bytes, "it stands for the same bytes");
}

#[test]
fn what_matches_is_replaced() {
    assert_redacted(json!({"pattern": "secret"}), b"a secret, no secret", b"a [redacted], no [redacted]");
    assert_redacted(json!({"pattern": "a+", "replacement": ""}), b"baab a", b"bb ");
    assert_redacted(
        json!({"pattern": "(password=)\\S+", "replacement": "${1}$$$$"}),
        b"password=x y",
        b"password=$$ y",
    );
    assert_redacted(json!({"pattern": "x"}), b"nothing", b"nothing");
    assert_redacted(json!({"pattern": "(?-u)\\xff.", "replacement": "?"}), b"a\xff\xfe\xffb", b"a??");
    assert_redacted(json!({"pattern": "$", "replacement": "."}), b"", b".");
}

#[test]
fn presets_find_what_they_are_called_after() {
    for (preset, line, expected) in [
        ("email", "from jane.doe+x@mail.example.org.", "from #."),
        ("email", "user@host, @x, a@b.c", "user@host, @x, a@b.c"),
        ("ipv4", "10.0.0.1:80 -> 255.255.255.255", "#:80 -> #"),
        ("ipv4", "256.1.1.1 1.2.3 11.22.33.444 v1.2", "256.1.1.1 1.2.3 11.22.33.444 v1.2"),
        ("credit_card", "card 4111 1111 1111 1111 and 5500-0000-0000-0004.", "card # and #."),
        ("credit_card", "378282246310005 4111111111111112", "# 4111111111111112"),
        ("credit_card", "id 1700000000000000000000 ts 1700000000", "id 1700000000000000000000 ts 1700000000"),
        ("bearer_token", "Authorization: Bearer eyJh.eyJz-_~+/x== next", "Authorization: Bearer # next"),
        ("bearer_token", "forbearer x, the bearer: y", "forbearer x, the bearer: y"),
    ] {
        assert_redacted(json!({"preset": preset, "replacement": "#"}), line.as_bytes(), expected.as_bytes());
    }
}

#[test]
fn texts_among_the_fields_are_redacted_at_any_depth() {
    let mut record = record(b"{}");
    let fields = json!({"secret": "a secret", "n": [1, {"b": "secret"}, null], "x": true});
    let fields = fields.as_object().unwrap().clone().into_iter().collect();
    record.attributes = Some(Box::new(Attributes { fields, ..Attributes::default() }));
    rule(json!({"pattern": "secret", "replacement": "#"})).apply(&mut record);
    let fields: serde_json::Map<_, _> = record.attributes.unwrap().fields.into_iter().collect();
    assert_eq!(Value::from(fields), json!({"secret": "a #", "n": [1, {"b": "#"}, null], "x": true}));
}

#[test]
fn a_rule_has_one_thing_to_look_for() {
    let told = |config: serde_json::Value| {
        serde_json::from_value::<RedactConfig>(config).unwrap().build().unwrap_err().to_string()
    };
    assert_eq!(told(json!({})), "give either `pattern` or `preset`");
    assert_eq!(told(json!({"pattern": "a", "preset": "email"})), "give either `pattern` or `preset`");
    assert!(told(json!({"pattern": "(a"})).starts_with("pattern: regex parse error"));
    assert!(serde_json::from_value::<RedactConfig>(json!({"preset": "phone"})).is_err());
}
