//! The plots beside the pages.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::machine;

const COLOR: RGBColor = RGBColor(0x1b, 0x6c, 0xa8);
const COLORS: [RGBColor; 5] = [
    COLOR,
    RGBColor(0xc4, 0x4e, 0x2a),
    RGBColor(0x4d, 0x9a, 0x46),
    RGBColor(0x8a, 0x5a, 0xa8),
    RGBColor(0x80, 0x80, 0x80),
];

type Backend<'a> = SVGBackend<'a>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<Backend<'a> as DrawingBackend>::ErrorType>>;

/// Named figures of one kind.
pub(super) struct Bars {
    title: String,
    bars: Vec<(String, f64)>,
}

impl Bars {
    pub(super) fn new(title: &str) -> Self {
        Self { title: title.to_owned(), bars: Vec::new() }
    }

    pub(super) fn add(&mut self, name: &str, value: f64) {
        self.bars.push((name.to_owned(), value));
    }
}

/// Figures over a range.
pub(super) struct Lines {
    pub(super) title: String,
    pub(super) x: String,
    pub(super) y: String,
    /// Name and points of each.
    pub(super) series: Vec<(String, Vec<(f64, f64)>)>,
}

/// Writes `docs/results/<name>.svg` with a bar for each figure.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write_bars(name: &str, bars: &Bars) -> Result<()> {
    let path = machine::results().join(name).with_extension("svg");
    draw_bars(bars, &path).map_err(|error| anyhow!("{}: {error}", path.display()))
}

fn draw_bars<'a>(bars: &Bars, path: &'a PathBuf) -> Drawn<'a> {
    let height = 80 + 34 * bars.bars.len() as u32;
    let root = SVGBackend::new(path, (900, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled(&bars.title, ("sans-serif", 20))?;
    let highest = bars.bars.iter().map(|bar| bar.1).fold(f64::MIN_POSITIVE, f64::max);
    for (row, (name, value)) in (0..).zip(&bars.bars) {
        let top = 10 + 34 * row;
        let width = (value / highest * 480.0) as i32;
        root.draw(&Text::new(name.clone(), (10, top + 6), ("sans-serif", 15)))?;
        root.draw(&Rectangle::new([(330, top), (330 + width, top + 24)], COLOR.filled()))?;
        root.draw(&Text::new(format!("{value:.2}"), (338 + width, top + 6), ("sans-serif", 15)))?;
    }
    root.present()
}

/// Writes `docs/results/<name>.svg` with a chart for each.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write_lines(name: &str, charts: &[Lines]) -> Result<()> {
    let path = machine::results().join(name).with_extension("svg");
    draw_lines(charts, &path).map_err(|error| anyhow!("{}: {error}", path.display()))
}

fn draw_lines<'a>(charts: &[Lines], path: &'a PathBuf) -> Drawn<'a> {
    let rows = charts.len().div_ceil(2);
    let root = SVGBackend::new(path, (1200, 320 * rows as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    for (area, lines) in root.split_evenly((rows, 2)).iter().zip(charts) {
        let points = || lines.series.iter().flat_map(|(_, points)| points);
        let right = points().map(|point| point.0).fold(f64::MIN_POSITIVE, f64::max);
        let top = points().map(|point| point.1).fold(f64::MIN_POSITIVE, f64::max) * 1.15;
        let mut chart = ChartBuilder::on(area)
            .caption(&lines.title, ("sans-serif", 16))
            .margin(8)
            .x_label_area_size(38)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..right, 0.0..top)?;
        chart.configure_mesh().light_line_style(WHITE).x_desc(&lines.x).y_desc(&lines.y).draw()?;
        for ((name, points), color) in lines.series.iter().zip(COLORS.iter().cycle()) {
            let drawn = chart.draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?;
            let color = *color;
            drawn.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
            chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, color.filled())))?;
        }
        if lines.series.len() > 1 {
            chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
        }
    }
    root.present()
}
