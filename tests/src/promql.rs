//! What an expression of Prometheus' query language selects.

use std::collections::BTreeSet;

/// Words of the language that stand where a metric could.
const KEYWORDS: [&str; 13] = [
    "and",
    "or",
    "unless",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "offset",
    "inf",
    "nan",
];

/// Keywords that labels in brackets follow.
const LABEL_LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// The selectors of an expression: each metric's name with the braces behind it, without a range.
///
/// Prometheus 2.42 has no call that gives a parsed expression, and that it parses is checked where it is evaluated; so
/// this only tells metrics from functions, keywords and labels.
#[must_use]
pub fn selectors(expression: &str) -> BTreeSet<String> {
    let mut selectors = BTreeSet::new();
    let mut rest = expression;
    while let Some(next) = rest.chars().next() {
        let skipped = match next {
            '"' | '\'' | '`' => quoted(rest),
            '[' => until(rest, ']'),
            '0'..='9' => rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len()),
            'a'..='z' | 'A'..='Z' | '_' | ':' => {
                let length = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
                let (word, behind) = rest.split_at(length);
                let keyword = word.to_ascii_lowercase();
                let gap = behind.len() - behind.trim_start().len();
                if LABEL_LISTS.contains(&keyword.as_str()) && behind[gap..].starts_with('(') {
                    length + gap + until(&behind[gap..], ')')
                } else if KEYWORDS.contains(&keyword.as_str()) || is_operator(&behind[gap..]) {
                    length
                } else {
                    let braces = if behind.starts_with('{') { braces(behind) } else { 0 };
                    selectors.insert(rest[..length + braces].to_owned());
                    length + braces
                }
            }
            other => other.len_utf8(),
        };
        rest = &rest[skipped..];
    }
    selectors
}

/// The names of the metrics that an expression selects.
#[must_use]
pub fn metrics(expression: &str) -> BTreeSet<String> {
    let name = |selector: String| selector.split('{').next().unwrap_or_default().to_owned();
    selectors(expression).into_iter().map(name).collect()
}

/// Whether what stands before `text` is a function or an aggregation: `rate(x)`, `sum by (y) (x)`.
fn is_operator(text: &str) -> bool {
    let word = text.split(|c: char| !is_name(c)).next().unwrap_or_default();
    text.starts_with('(') || ["by", "without"].contains(&word)
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// Length up to and with the first `end`.
fn until(text: &str, end: char) -> usize {
    text.find(end).map_or(text.len(), |at| at + end.len_utf8())
}

/// Length of the string that `text` begins with.
fn quoted(text: &str) -> usize {
    let mut characters = text.char_indices();
    let quote = characters.next().map(|(_, quote)| quote);
    while let Some((at, c)) = characters.next() {
        if Some(c) == quote {
            return at + c.len_utf8();
        }
        if c == '\\' && quote != Some('`') {
            characters.next();
        }
    }
    text.len()
}

/// Length of the label matchers that `text` begins with; their values may hold braces.
fn braces(text: &str) -> usize {
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        match c {
            '"' | '\'' | '`' => at += quoted(&text[at..]),
            '}' => return at + 1,
            _ => at += c.len_utf8(),
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::{metrics, selectors};

    fn of(expression: &str) -> Vec<String> {
        selectors(expression).into_iter().collect()
    }

    #[test]
    fn functions_keywords_and_labels_are_no_metrics() {
        let expression =
            "sum by (instance, le) (rate(a_total{x=~\"{}|\\\"y\"}[5m])) / on(instance) group_left b > bool 1e3";
        assert_eq!(of(expression), ["a_total{x=~\"{}|\\\"y\"}", "b"]);
        assert_eq!(of("sum(a:b:rate5m) without (c) and d offset 5m unless e == Inf"), ["a:b:rate5m", "d", "e"]);
        assert_eq!(of("label_replace(a, 'b', '$1', 'c', '(.*)') * 60"), ["a"]);
    }

    #[test]
    fn a_name_stands_without_its_matchers() {
        assert_eq!(metrics("up{job=\"x\"} == 0 or up").into_iter().collect::<Vec<_>>(), ["up"]);
    }
}
