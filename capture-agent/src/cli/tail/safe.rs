//! Lines of containers on a terminal, which they must not steer: they could hide text, change the title, or answer for
//! whoever sits before it.

use std::borrow::Cow;

/// The text with its colours, and with control characters made visible. A colour that is begun ends with the text.
pub fn text(line: &str) -> Cow<'_, str> {
    if !line.chars().any(|c| c.is_control() && c != '\t') {
        return Cow::Borrowed(line);
    }
    let mut safe = String::with_capacity(line.len() + 16);
    let mut rest = line;
    let mut has_color = false;
    while let Some(c) = rest.chars().next() {
        let color = color(rest);
        if color > 0 {
            has_color = true;
            safe.push_str(&rest[..color]);
            rest = &rest[color..];
            continue;
        }
        match c {
            '\t' => safe.push(c),
            // A carriage return before the end of the line is how a program ends lines on a terminal.
            '\r' if rest.len() == 1 => {}
            '\0'..='\x1f' => safe.extend(['^', char::from(c as u8 + b'@')]),
            c if c.is_control() => safe.push(char::REPLACEMENT_CHARACTER),
            c => safe.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    if has_color {
        safe.push_str("\x1b[0m");
    }
    Cow::Owned(safe)
}

/// The length of the sequence that the text begins with, if it is one that changes nothing but colours and weight
/// (ECMA-48: CSI, parameters, `m`).
fn color(text: &str) -> usize {
    let Some(parameters) = text.strip_prefix("\x1b[") else { return 0 };
    let length = parameters.bytes().take_while(|byte| byte.is_ascii_digit() || b";:".contains(byte)).count();
    if parameters.as_bytes().get(length) == Some(&b'm') && length <= 32 { length + 3 } else { 0 }
}

/// The text without anything but itself.
pub fn plain(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let skipped = color(rest);
        if skipped > 0 {
            rest = &rest[skipped..];
            continue;
        }
        match c {
            '\t' => plain.push_str("    "),
            c if c.is_control() => {}
            c => plain.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_stay_and_everything_else_that_steers_is_shown() {
        assert_eq!(text("plain\ttext é"), "plain\ttext é");
        assert_eq!(text("\x1b[1;31mred\x1b[0m"), "\x1b[1;31mred\x1b[0m\x1b[0m");
        assert_eq!(text("\x1b[38:2:1:2:3mred"), "\x1b[38:2:1:2:3mred\x1b[0m");
        assert_eq!(text("done\r"), "done");
        for (hostile, shown) in [
            ("\x1b[2J", "^[[2J"),
            ("\x1b]0;title\x07", "^[]0;title^G"),
            ("\x1b[6n", "^[[6n"),
            ("secret\rpublic", "secret^Mpublic"),
            ("a\x08b", "a^Hb"),
            ("\u{9b}2J", "\u{fffd}2J"),
            ("\x7f", "\u{fffd}"),
            ("\x1b[31", "^[[31"),
        ] {
            assert_eq!(text(hostile), shown);
        }
    }

    #[test]
    fn plain_text_has_no_colours_either() {
        assert_eq!(plain("\x1b[1;31mred\x1b[0m\ttab\x1b[2J\r"), "red    tab[2J");
    }
}
