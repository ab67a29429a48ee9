//! JSON, as fast as lines need it.
//!
//! Most lines are plain ASCII without anything to escape: one look at blocks of bytes, which the compiler makes vector
//! instructions of, and one copy.

/// Bytes that are looked at together.
const BLOCK: usize = 32;

/// Appends `text` as a string in quotes. Whether it is UTF-8: what is not becomes U+FFFD.
pub fn string(text: &[u8], out: &mut Vec<u8>) -> bool {
    out.push(b'"');
    let is_text = if is_plain(text) {
        out.extend_from_slice(text);
        true
    } else if std::str::from_utf8(text).is_ok() {
        escaped(text, out);
        true
    } else {
        escaped(String::from_utf8_lossy(text).as_bytes(), out);
        false
    };
    out.push(b'"');
    is_text
}

/// Whether all of it is ASCII that stands in a string as it is.
fn is_plain(text: &[u8]) -> bool {
    all(text, is_plain_ascii)
}

/// Whether all its lines are ASCII that stands in a string as it is.
#[must_use]
pub fn are_plain(lines: &[u8]) -> bool {
    all(lines, |byte| is_plain_ascii(byte) || byte == b'\n')
}

/// Looks at whole blocks without a short cut, so that it is one comparison of all their bytes.
fn all(text: &[u8], is_fine: impl Fn(u8) -> bool) -> bool {
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    blocks.iter().all(|block| block.iter().fold(true, |fine, byte| fine & is_fine(*byte)))
        && rest.iter().all(|byte| is_fine(*byte))
}

const fn is_plain_ascii(byte: u8) -> bool {
    // As a signed number what is not ASCII is less than a space, too.
    byte.cast_signed() >= 0x20 && byte != b'"' && byte != b'\\'
}

fn escaped(mut text: &[u8], out: &mut Vec<u8>) {
    loop {
        let plain = plain_prefix(text);
        out.extend_from_slice(&text[..plain]);
        let Some(byte) = text.get(plain) else { return };
        escape(*byte, out);
        text = &text[plain + 1..];
    }
}

/// How many bytes need no escape.
fn plain_prefix(text: &[u8]) -> usize {
    let mut length = 0;
    let (blocks, _) = text.as_chunks::<BLOCK>();
    for block in blocks {
        // Without a short cut, so that it is one comparison of all of them.
        if block.iter().fold(false, |found, byte| found | needs_escape(*byte)) {
            break;
        }
        length += BLOCK;
    }
    length + text[length..].iter().position(|byte| needs_escape(*byte)).unwrap_or(text.len() - length)
}

/// RFC 8259, section 7.
const fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let hex = |digit: u8| b"0123456789abcdef"[usize::from(digit)];
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// The nine digits of a part of a second, in ns.
#[must_use]
pub fn nanoseconds(mut rest: i64) -> [u8; 9] {
    let mut digits = [b'0'; 9];
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789"[(rest % 10).unsigned_abs() as usize];
        rest /= 10;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &[u8]) -> String {
        let mut out = Vec::new();
        string(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strings_are_what_another_encoder_makes_of_them() {
        let specials = ["\"", "\\", "\n", "\r", "\t", "\u{8}", "\u{c}", "\u{0}", "\u{1f}", "\u{7f}", "ä", "→", "𝄞", ""];
        for special in specials {
            // At every place relative to the blocks, alone and twice.
            for before in 0..2 * BLOCK {
                for text in [
                    format!("{}{special}", "x".repeat(before)),
                    format!("{}{special}{special}{}", "x".repeat(before), "y".repeat(BLOCK + 3)),
                ] {
                    assert_eq!(rendered(text.as_bytes()), serde_json::to_string(&text).unwrap());
                }
            }
        }
    }

    #[test]
    fn what_is_not_text_is_replaced_and_told() {
        assert_eq!(rendered(b"a\xffb\"\xe2\x82"), "\"a\u{fffd}b\\\"\u{fffd}\"");
        let is_text = |text: &[u8]| string(text, &mut Vec::new());
        assert!(is_text(b"") && is_text(b"a") && is_text("\u{fffd}".as_bytes()));
        assert!(!is_text(b"\xff") && !is_text(&[&[b'x'; 99][..], b"\xe2\x82"].concat()));
    }

    #[test]
    fn parts_of_a_second_have_nine_digits() {
        for (rest, digits) in
            [(0, "000000000"), (7, "000000007"), (999_999_999, "999999999"), (120_000_340, "120000340")]
        {
            assert_eq!(std::str::from_utf8(&nanoseconds(rest)), Ok(digits));
        }
    }
}
