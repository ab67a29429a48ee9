//! Reloads of the configuration.

use prometheus::proto::MetricFamily;

use super::family::{Definition, Source, counter, gauge};
use crate::config::reload::ReloadStats;

const RELOADS: Definition = counter("log_capturer_config_reloads_total", "Times that the configuration was read anew.");

const LAST_SUCCESS: Definition = gauge(
    "log_capturer_config_last_reload_success_timestamp_seconds",
    "When the configuration that holds was read, since the Unix epoch.",
);

impl Source for ReloadStats {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^53")]
    fn read(&self, give: &mut dyn FnMut(MetricFamily)) {
        let by_result = [("success", self.successes()), ("failure", self.failures())];
        give(RELOADS.family(by_result.map(|(result, count)| RELOADS.sample(count, &[("result", result)])).into()));
        give(LAST_SUCCESS.family(vec![LAST_SUCCESS.sample_f64(self.last_success() as f64 / 1000.0, &[])]));
    }
}
