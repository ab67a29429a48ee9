//! The course of a soak as a picture: one small chart for each figure, the old way beside where it ran.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::{Outcome, Phase, Sample};

const SIZE: (u32, u32) = (1200, 1100);
const OURS: RGBColor = RGBColor(0x1b, 0x6c, 0xa8);
const OLD: RGBColor = RGBColor(0xc4, 0x4e, 0x2a);
const FROZEN: RGBColor = RGBColor(0x7f, 0xb8, 0xe0);

/// One chart: its title, and where its figures are.
struct Panel {
    title: &'static str,
    ours: fn(&Sample) -> Option<f64>,
    old: fn(&Sample) -> Option<f64>,
}

const PANELS: [Panel; 8] = [
    Panel { title: "open files", ours: |s| whole(s.usage.fds), old: |s| whole(s.old?.usage.fds) },
    Panel { title: "tasks", ours: |s| s.tasks, old: |s| Some(s.old?.tasks) },
    Panel { title: "threads", ours: |s| whole(s.usage.threads), old: |s| whole(s.old?.usage.threads) },
    Panel { title: "resident memory, MiB", ours: |s| mib(s.usage.rss), old: |s| mib(s.old?.usage.rss) },
    Panel { title: "active streams", ours: |s| s.active, old: |s| Some(s.old?.streams) },
    Panel { title: "rotations", ours: |s| Some(s.rotations), old: |s| Some(s.old?.rotations) },
    Panel { title: "bytes lost or dropped", ours: |s| Some(s.missing_bytes()), old: |_| None },
    Panel { title: "CPU time, s", ours: |s| Some(s.usage.cpu), old: |s| Some(s.old?.usage.cpu) },
];

/// Draws it as SVG.
///
/// # Errors
/// When the file cannot be written.
pub fn draw(outcome: &Outcome, path: &Path) -> Result<()> {
    // The library's error borrows from the backend.
    render(outcome, path).map_err(|error| anyhow!("{}: {error}", path.display()))
}

type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn render<'a>(outcome: &Outcome, path: &'a Path) -> Drawn<'a> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let options = &outcome.options;
    let minutes = options.length.as_secs_f64() / 60.0;
    let beside = if options.compare { "; blue: capture-agent, red: one API stream per container" } else { "" };
    let frozen = if outcome.samples.iter().any(is_frozen) { "; shaded: dockerd stopped" } else { "" };
    let title = format!("{} containers, {minutes} minutes{beside}{frozen}", options.containers);
    let root = root.titled(&title, ("sans-serif", 22))?;
    for (area, panel) in root.split_evenly((4, 2)).iter().zip(&PANELS) {
        chart(area, panel, &outcome.samples)?;
    }
    root.present()
}

fn chart<'a>(
    area: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
    panel: &Panel,
    samples: &[Sample],
) -> Drawn<'a> {
    let points = |figure: fn(&Sample) -> Option<f64>| -> Vec<(f64, f64)> {
        samples.iter().filter_map(|sample| Some((sample.at / 60.0, figure(sample)?))).collect()
    };
    let (ours, old) = (points(panel.ours), points(panel.old));
    let highest = ours.iter().chain(&old).map(|point| point.1).fold(0.0, f64::max);
    let (bottom, top) = (0.0, if highest > 0.0 { highest * 1.15 } else { 1.0 });
    let end = samples.last().map_or(1.0, |sample| (sample.at / 60.0).max(0.1));
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, ("sans-serif", 16))
        .margin(8)
        .x_label_area_size(38)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..end, bottom..top)?;
    chart.configure_mesh().light_line_style(WHITE).x_labels(7).y_labels(5).x_desc("minutes").draw()?;
    chart.draw_series(samples.windows(2).filter(|pair| is_frozen(&pair[0])).map(|pair| {
        Rectangle::new([(pair[0].at / 60.0, bottom), (pair[1].at / 60.0, top)], FROZEN.mix(0.3).filled())
    }))?;
    chart.draw_series(LineSeries::new(old, OLD.stroke_width(2)))?;
    chart.draw_series(LineSeries::new(ours, OURS.stroke_width(2)))?;
    Ok(())
}

fn is_frozen(sample: &Sample) -> bool {
    sample.phase == Phase::Frozen
}

#[expect(
    clippy::cast_precision_loss,
    clippy::unnecessary_wraps,
    reason = "for a picture, beside figures that may be missing"
)]
fn whole(count: u64) -> Option<f64> {
    Some(count as f64)
}

fn mib(bytes: u64) -> Option<f64> {
    whole(bytes).map(|bytes| bytes / 1024.0 / 1024.0)
}
