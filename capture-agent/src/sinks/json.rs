//! JSON, as fast as lines need it.
//!
//! Most lines are plain ASCII without anything to escape: one look at blocks of bytes, which the compiler makes vector
//! instructions of, and one copy.

/// Bytes that are looked at together.
const BLOCK: usize = 32;
/// Bytes of which [`find`] says what they are: one bit of a word for each.
const WORD: usize = 64;

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

/// Gives out lines, without their newlines, up to the first that is not ASCII which stands in a string as it is; how many bytes they are,
/// with their newlines.
pub fn plain_lines<'a>(lines: &'a [u8], mut give: impl FnMut(&'a [u8])) -> usize {
    let mut start = 0;
    let mut look = |begin: usize, word: &[u8; WORD]| {
        let Found { mut newlines, others } = find(word);
        // Those before the first byte that is something else.
        newlines &= (others & others.wrapping_neg()).wrapping_sub(1);
        while newlines != 0 {
            let newline = begin + newlines.trailing_zeros() as usize;
            give(&lines[start..newline]);
            start = newline + 1;
            newlines &= newlines - 1;
        }
        others == 0
    };
    let (words, rest) = lines.as_chunks::<WORD>();
    if words.iter().enumerate().all(|(index, word)| look(index * WORD, word)) {
        let mut last = [b' '; WORD];
        last[..rest.len()].copy_from_slice(rest);
        look(lines.len() - rest.len(), &last);
    }
    start
}

/// What is where among some bytes: the lowest bit is for the first one.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    newlines: u64,
    /// What is not a newline, and does not stand in a string as it is.
    others: u64,
}

fn find(word: &[u8; WORD]) -> Found {
    // SAFETY: every x86-64 processor has SSE2, and the agent runs on no other.
    unsafe { find_sse2(word) }
}

/// The compiler makes no `pmovmskb` of a loop over bytes.
#[target_feature(enable = "sse2")]
fn find_sse2(word: &[u8; WORD]) -> Found {
    use std::arch::x86_64::{
        _mm_andnot_si128, _mm_cmpeq_epi8, _mm_cmpgt_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x,
        _mm_set1_epi8,
    };
    let mut found = Found { newlines: 0, others: 0 };
    let (quarters, _) = word.as_chunks::<16>();
    for (index, quarter) in quarters.iter().enumerate() {
        // One load.
        let bytes = u128::from_le_bytes(*quarter);
        let bytes = _mm_set_epi64x((bytes >> 64) as i64, bytes as i64);
        let is = |byte: u8| _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte.cast_signed()));
        let newlines = is(b'\n');
        // As signed numbers what is not ASCII is less than a space, too.
        let below = _mm_andnot_si128(newlines, _mm_cmpgt_epi8(_mm_set1_epi8(0x20), bytes));
        let others = _mm_or_si128(below, _mm_or_si128(is(b'"'), is(b'\\')));
        let bits = |mask| u64::from(_mm_movemask_epi8(mask).cast_unsigned()) << (16 * index);
        found.newlines |= bits(newlines);
        found.others |= bits(others);
    }
    found
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

    fn find_bytewise(word: &[u8; WORD]) -> Found {
        let bits = |is: fn(u8) -> bool| word.iter().rev().fold(0, |bits, byte| bits << 1 | u64::from(is(*byte)));
        Found { newlines: bits(|byte| byte == b'\n'), others: bits(|byte| byte != b'\n' && !is_plain_ascii(byte)) }
    }

    #[test]
    fn a_look_at_a_word_finds_every_byte_at_every_place() {
        for byte in 0..=u8::MAX {
            for place in 0..WORD {
                let mut word = [b'x'; WORD];
                word[place] = byte;
                word[(place + 7) % WORD] = b'\n';
                assert_eq!(find(&word), find_bytewise(&word), "{byte} at {place}");
            }
        }
    }

    #[test]
    fn plain_lines_end_before_the_first_that_is_not() {
        let plain = |lines: &[u8]| {
            let mut given = Vec::new();
            let length = plain_lines(lines, |line| given.push(line.to_vec()));
            (given, length)
        };
        for length in 0..2 * WORD {
            let line = vec![b'x'; length];
            let lines = [&line[..], b"\n\n", &line, b"\n"].concat();
            let all = vec![line.clone(), Vec::new(), line.clone()];
            assert_eq!(plain(&lines), (all.clone(), lines.len()));
            for special in [&b"\""[..], b"\\", b"\t", b"\x1f", b"\x80", b"\xff"] {
                let more = [&lines, special, b"\n", &lines].concat();
                assert_eq!(plain(&more), (all.clone(), lines.len()));
                assert_eq!(plain(&[special, &lines].concat()), (Vec::new(), 0));
            }
            // Without an end it is no line.
            assert_eq!(plain(&[&lines[..], b"y"].concat()), (all, lines.len()));
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
