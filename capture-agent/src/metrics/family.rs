//! What a metric is, and how its samples are made.

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use crate::histogram::Distribution;

/// Where metrics are read.
pub(super) trait Source: Send + Sync {
    /// Gives its families, one after the other: there is no moment at which all of them are in memory.
    fn read(&self, give: &mut dyn FnMut(MetricFamily));
}

/// A metric and where its value is found.
pub(super) type Reading<T, V> = (Definition, fn(&T) -> V);

/// Name, help and type of one metric.
pub(super) struct Definition {
    pub(super) name: &'static str,
    help: &'static str,
    kind: MetricType,
}

pub(super) const fn counter(name: &'static str, help: &'static str) -> Definition {
    Definition { name, help, kind: MetricType::COUNTER }
}

pub(super) const fn gauge(name: &'static str, help: &'static str) -> Definition {
    Definition { name, help, kind: MetricType::GAUGE }
}

pub(super) const fn histogram(name: &'static str, help: &'static str) -> Definition {
    Definition { name, help, kind: MetricType::HISTOGRAM }
}

impl Definition {
    pub(super) fn family(&self, metrics: Vec<Metric>) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(metrics);
        family
    }

    #[expect(clippy::cast_precision_loss, reason = "the format's numbers are f64, exact up to 2^53 (9 PB)")]
    pub(super) fn sample(&self, value: u64, labels: &[(&str, &str)]) -> Metric {
        self.sample_f64(value as f64, labels)
    }

    pub(super) fn sample_f64(&self, value: f64, labels: &[(&str, &str)]) -> Metric {
        let mut metric = labelled(labels);
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        metric
    }
}

fn labelled(labels: &[(&str, &str)]) -> Metric {
    let labels = labels.iter().map(|(name, value)| {
        let mut label = LabelPair::default();
        label.set_name((*name).to_owned());
        label.set_value((*value).to_owned());
        label
    });
    Metric::from_label(labels.collect())
}

/// The sample of a histogram without labels.
pub(super) fn distribution(read: &Distribution) -> Metric {
    distribution_of(read, &[])
}

/// The sample of a histogram.
pub(super) fn distribution_of(read: &Distribution, labels: &[(&str, &str)]) -> Metric {
    let buckets = read.buckets.iter().map(|(bound, cumulative)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(*cumulative);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(read.count);
    histogram.set_sample_sum(read.sum);
    let mut metric = labelled(labels);
    metric.set_histogram(histogram);
    metric
}
