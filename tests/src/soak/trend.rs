//! Does a figure grow? A straight line through the samples, and its first quarter against its last.

/// How many standard errors a slope may be away from 0 and still be chance.
const SIGMAS: f64 = 3.0;

/// The course of one figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// Slope of the least-squares line, per minute.
    pub slope: f64,
    /// Its standard error, per minute.
    pub error: f64,
    /// Median of the last quarter of the samples less that of the first.
    pub step: f64,
}

impl Trend {
    /// Of points of (seconds, value), in the order of time; `None` for fewer than eight.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of samples")]
    pub fn of(points: &[(f64, f64)]) -> Option<Self> {
        if points.len() < 8 {
            return None;
        }
        let count = points.len() as f64;
        let minutes = points.iter().map(|point| point.0 / 60.0).collect::<Vec<_>>();
        let mean_x = minutes.iter().sum::<f64>() / count;
        let mean_y = points.iter().map(|point| point.1).sum::<f64>() / count;
        let spread: f64 = minutes.iter().map(|x| (x - mean_x).powi(2)).sum();
        let common: f64 = minutes.iter().zip(points).map(|(x, point)| (x - mean_x) * (point.1 - mean_y)).sum();
        let slope = if spread > 0.0 { common / spread } else { 0.0 };
        let rest = |(x, point): (&f64, &(f64, f64))| (point.1 - mean_y - slope * (x - mean_x)).powi(2);
        let residual: f64 = minutes.iter().zip(points).map(rest).sum();
        let error = if spread > 0.0 { (residual / (count - 2.0) / spread).sqrt() } else { 0.0 };
        let quarter = points.len() / 4;
        let values = |part: &[(f64, f64)]| median(&part.iter().map(|point| point.1).collect::<Vec<_>>());
        let step = values(&points[points.len() - quarter..]) - values(&points[..quarter]);
        Some(Self { slope, error, step })
    }

    /// Whether the figure stayed where it was: a slope not different from 0, and no step.
    #[must_use]
    pub fn is_flat(self) -> bool {
        // Without any scatter both are 0 up to rounding.
        self.slope.abs() <= (SIGMAS * self.error).max(1e-9) && self.step == 0.0
    }
}

/// The middle value; of an even count, the mean of the two in the middle.
fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { f64::midpoint(values[middle - 1], values[middle]) } else { values[middle] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(value: impl Fn(u32) -> f64) -> Trend {
        let points: Vec<_> = (0..360).map(|number| (f64::from(number) * 5.0, value(number))).collect();
        Trend::of(&points).unwrap()
    }

    #[test]
    fn what_stays_is_flat() {
        assert!(course(|_| 31.0).is_flat());
        // A descriptor that is open in every sixth sample, and one look at a crowd.
        assert!(course(|number| 31.0 + f64::from(u8::from(number % 6 == 0))).is_flat());
        assert!(course(|number| if number == 100 { 231.0 } else { 31.0 }).is_flat());
    }

    #[test]
    fn one_leak_in_ten_minutes_is_growth() {
        let trend = course(|number| 31.0 + f64::from(number / 120) + f64::from(u8::from(number % 6 == 0)));
        assert!(!trend.is_flat(), "{trend:?}");
        assert!((trend.slope - 0.1).abs() < 0.02, "{trend:?}");
        assert!(trend.error > 0.0 && (trend.step - 2.0).abs() < 1e-9, "{trend:?}");
    }

    #[test]
    fn one_leak_in_the_whole_run_is_growth() {
        assert!(!course(|number| if number > 200 { 32.0 } else { 31.0 }).is_flat());
    }

    #[test]
    fn too_few_samples_say_nothing() {
        assert_eq!(Trend::of(&[(0.0, 1.0); 7]), None);
    }
}
