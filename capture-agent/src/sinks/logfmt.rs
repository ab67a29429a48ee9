//! logfmt: `key=value` pairs on one line, as `github.com/go-logfmt/logfmt` and Loki's parser of that name read them.

use super::json;

/// Appends ` key=value`, without the space where `out` is empty or ends a line. Whether the value is UTF-8: what is not
/// becomes U+FFFD.
pub fn pair(key: &str, value: &[u8], out: &mut Vec<u8>) -> bool {
    if out.last().is_some_and(|last| *last != b'\n') {
        out.push(b' ');
    }
    let begin = out.len();
    push_key(key, out);
    if out.len() == begin {
        out.push(b'_');
    }
    out.push(b'=');
    push_value(value, out)
}

fn push_key(key: &str, out: &mut Vec<u8>) {
    if is_plain(key.as_bytes()) {
        return out.extend_from_slice(key.as_bytes());
    }
    let is_fine = |c: char| c > ' ' && !matches!(c, '=' | '"' | '\u{7f}' | char::REPLACEMENT_CHARACTER);
    for c in key.chars() {
        out.extend_from_slice(if is_fine(c) { c } else { '_' }.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

/// Quotes take the escapes of JSON.
fn push_value(value: &[u8], out: &mut Vec<u8>) -> bool {
    if !value.is_empty() && is_plain(value) {
        out.extend_from_slice(value);
        return true;
    }
    // Readers take the replacement character for a mistake of the writer, unless it is quoted.
    let is_text = |text: &str| !text.is_empty() && !text.contains(char::REPLACEMENT_CHARACTER);
    if !value.is_ascii() && value.iter().all(|byte| is_fine(*byte)) && std::str::from_utf8(value).is_ok_and(is_text) {
        out.extend_from_slice(value);
        return true;
    }
    json::string(value, out)
}

/// ASCII that stands without quotes. Without a short cut, so that it is one comparison of many bytes.
fn is_plain(text: &[u8]) -> bool {
    text.iter().fold(true, |all, byte| all & byte.is_ascii() & is_fine(*byte))
}

const fn is_fine(byte: u8) -> bool {
    byte > b' ' && byte != b'=' && byte != b'"' && byte != b'\\' && byte != 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_where_they_have_to_be() {
        let mut out = b"first\n".to_vec();
        for (key, value, is_text) in [
            ("plain", &b"a-b/c:1"[..], true),
            ("empty", b"", true),
            ("space", b"a b", true),
            ("equals", b"a=b", true),
            ("quote", b"say \"x\"\\\n", true),
            ("ä", "ö".as_bytes(), true),
            ("spaced", "ö ".as_bytes(), true),
            ("replaced", "\u{fffd}".as_bytes(), true),
            ("raw", b"a\xff", false),
            ("a key=\"x\"", b"1", true),
            ("", b"1", true),
        ] {
            assert_eq!(pair(key, value, &mut out), is_text, "{key}");
        }
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "first\nplain=a-b/c:1 empty=\"\" space=\"a b\" equals=\"a=b\" quote=\"say \\\"x\\\"\\\\\\n\" ä=ö \
             spaced=\"ö \" replaced=\"\u{fffd}\" raw=\"a\u{fffd}\" a_key__x_=1 _=1"
        );
    }
}
