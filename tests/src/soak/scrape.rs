//! The agent's metrics at one moment, added up over the containers that are asked for.

use std::collections::{BTreeMap, HashMap};

/// One answer of `/metrics`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scrape(HashMap<String, f64>);

impl Scrape {
    pub(crate) fn new(series: HashMap<String, f64>) -> Self {
        Self(series)
    }

    /// The value of a metric without labels; `None` where the agent does not export it.
    pub(crate) fn plain(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// The sum of a metric's series for each container.
    pub(crate) fn by_container<'a>(&'a self, name: &'a str) -> HashMap<&'a str, f64> {
        let mut sums = HashMap::new();
        for (labels, value) in self.series(name) {
            if let Some(id) = label(labels, "container_id") {
                *sums.entry(id).or_default() += value;
            }
        }
        sums
    }

    /// The sum of a metric's series for each value of `of`, over the containers that are `wanted`.
    pub(crate) fn by_label(&self, name: &str, of: &str, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for (labels, value) in self.series(name) {
            if let Some(key) = label(labels, of)
                && label(labels, "container_id").is_none_or(&wanted)
            {
                *sums.entry(key.to_owned()).or_default() += value;
            }
        }
        sums
    }

    /// The values of a metric's series whose label `key` is `value`, by the label `of`.
    pub(crate) fn labelled(&self, name: &str, (key, value): (&str, &str), of: &str) -> BTreeMap<String, f64> {
        let series = self.series(name).filter(|(labels, _)| label(labels, key) == Some(value));
        series.filter_map(|(labels, value)| Some((label(labels, of)?.to_owned(), value))).collect()
    }

    fn series<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.iter().filter_map(move |(key, value)| Some((key.strip_prefix(name)?.strip_prefix('{')?, *value)))
    }
}

/// The value of a label among `a="1",b="2"}`.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let (before, rest) = labels.split_once(&format!("{name}=\""))?;
    (before.is_empty() || before.ends_with(',')).then(|| rest.split('"').next())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape() -> Scrape {
        let series = [
            ("tasks", 3.0),
            (r#"lost{container_id="a",reason="fault"}"#, 1.0),
            (r#"lost{container_id="a",reason="ring_full"}"#, 2.0),
            (r#"lost{container_id="b",reason="fault"}"#, 4.0),
            (r#"lost_more{container_id="a",reason="fault"}"#, 8.0),
        ];
        Scrape::new(series.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    #[test]
    fn series_of_a_container_are_added_and_names_that_only_begin_alike_are_not() {
        assert_eq!(scrape().by_container("lost"), HashMap::from([("a", 3.0), ("b", 4.0)]));
        assert_eq!(scrape().plain("tasks"), Some(3.0));
        assert_eq!(scrape().plain("lost"), None);
    }

    #[test]
    fn only_wanted_containers_count() {
        let by_reason = scrape().by_label("lost", "reason", |id| id == "a");
        assert_eq!(by_reason, BTreeMap::from([("fault".to_owned(), 1.0), ("ring_full".to_owned(), 2.0)]));
    }
}
