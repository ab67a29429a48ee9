//! Numbers for eyes.

use std::time::Duration;

/// Bytes in the unit in which they have at most four digits.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit < units.len() - 1 {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value >= 99.95 {
        format!("{value:.0} {}", units[unit])
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

/// With a separator every three digits.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// In its largest unit.
pub(super) fn age(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    match whole {
        0..90 => format!("{whole}s"),
        90..5400 => format!("{}m", (whole + 30) / 60),
        5400..172_800 => format!("{}h", (whole + 1800) / 3600),
        _ => format!("{}d", (whole + 43_200) / 86_400),
    }
}

/// Values as a row of blocks, the latest on the right; a blank for nothing at all.
pub(super) fn spark(values: &[u64], width: usize) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let values = &values[values.len().saturating_sub(width)..];
    let most = values.iter().copied().max().unwrap_or(0).max(1);
    let block = |value: &u64| {
        let height = (u128::from(*value) * BLOCKS.len() as u128).div_ceil(u128::from(most));
        usize::try_from(height).ok().and_then(|height| height.checked_sub(1)).map_or(' ', |place| BLOCKS[place.min(7)])
    };
    let drawn: String = values.iter().map(block).collect();
    format!("{drawn:>width$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!([0, 999, 1000, 102_400, 5 << 20].map(size), ["0 B", "999 B", "1.0 KiB", "100 KiB", "5.0 MiB"]);
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 89.9, 90.0, 7200.0, 1e6].map(age), ["0s", "89s", "2m", "2h", "12d"]);
    }

    #[test]
    fn a_sparkline_ends_at_the_right_and_shows_the_least_that_is_not_nothing() {
        assert_eq!(spark(&[0, 1, 50, 100], 6), "   ▁▄█");
        assert_eq!(spark(&[9, 8, 7, 0], 2), "█ ");
        assert_eq!(spark(&[], 3), "   ");
        assert_eq!(spark(&[u64::MAX, u64::MAX / 2], 2), "█▄");
    }
}
