//! A terminal's screen as SVG: each run of cells that look the same is one text.

use std::fmt::Write as _;

use vt100::{Color, Screen};

/// Size of a cell.
const CELL: (f32, f32) = (8.4, 18.0);
const MARGIN: f32 = 12.0;
const BACK: &str = "#14181a";
const TEXT: &str = "#d9e0e2";
/// The sixteen colours of a terminal.
const PALETTE: [&str; 16] = [
    "#14181a", "#ff6b76", "#57c27d", "#e0a63c", "#6aa8ff", "#c792ea", "#4fb3bf", "#d9e0e2", "#7d8c90", "#ff8f98",
    "#7fdc9f", "#f3c565", "#8fc0ff", "#dab0f5", "#7cd3dd", "#ffffff",
];

/// The screen, with its title above.
pub fn svg(screen: &Screen, title: &str) -> String {
    let (rows, columns) = screen.size();
    let (rows, columns) = (rows.get(), columns.get());
    let (width, height) = (f32::from(columns) * CELL.0 + 2.0 * MARGIN, f32::from(rows) * CELL.1 + 2.0 * MARGIN + 24.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"ui-monospace, \
         'DejaVu Sans Mono', monospace\" font-size=\"14\">\n<title>{title}</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{BACK}\"/>\n"
    );
    for (place, hue) in ["#ff6b76", "#e0a63c", "#57c27d"].iter().enumerate() {
        let _ = writeln!(svg, "<circle cx=\"{}\" cy=\"18\" r=\"5\" fill=\"{hue}\"/>", 20 + 18 * place);
    }
    for row in 0..rows {
        let y = MARGIN + 24.0 + f32::from(row) * CELL.1;
        let mut column = 0;
        while column < columns {
            let Some(style) = style(screen, row, column) else { break };
            let begin = column;
            let mut text = String::new();
            while column < columns && self::style(screen, row, column).as_ref() == Some(&style) {
                let cell = screen.cell(row, column).map(|cell| cell.contents().to_owned()).unwrap_or_default();
                text.push_str(if cell.is_empty() { " " } else { &cell });
                column += 1;
            }
            let x = MARGIN + f32::from(begin) * CELL.0;
            let run = f32::from(column - begin) * CELL.0;
            if let Some(back) = &style.back {
                let _ = writeln!(
                    svg,
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{run:.1}\" height=\"{}\" fill=\"{back}\"/>",
                    CELL.1
                );
            }
            if !text.trim().is_empty() {
                let weight = if style.bold { " font-weight=\"bold\"" } else { "" };
                let text = text.trim_end().replace('&', "&amp;").replace('<', "&lt;");
                let length = text_columns(&text) * CELL.0;
                let _ = writeln!(
                    svg,
                    "<text x=\"{x:.1}\" y=\"{:.1}\" fill=\"{}\"{weight} xml:space=\"preserve\" textLength=\"{length:.1}\" \
                     lengthAdjust=\"spacingAndGlyphs\">{text}</text>",
                    y + CELL.1 * 0.75,
                    style.text
                );
            }
        }
    }
    svg.push_str("</svg>\n");
    svg
}

#[expect(clippy::cast_precision_loss, reason = "columns of a screen")]
fn text_columns(text: &str) -> f32 {
    text.replace("&amp;", "&").replace("&lt;", "<").chars().count() as f32
}

#[derive(PartialEq)]
struct Style {
    text: String,
    back: Option<String>,
    bold: bool,
}

fn style(screen: &Screen, row: u16, column: u16) -> Option<Style> {
    let cell = screen.cell(row, column)?;
    let hue = |color: Color, default: Option<&str>| match color {
        Color::Default => default.map(str::to_owned),
        Color::Idx(place) => Some(PALETTE.get(usize::from(place)).unwrap_or(&TEXT).to_string()),
        Color::Rgb(red, green, blue) => Some(format!("#{red:02x}{green:02x}{blue:02x}")),
    };
    let text = hue(cell.fgcolor(), Some(TEXT)).unwrap_or_default();
    let back = hue(cell.bgcolor(), None);
    let bold = cell.bold();
    Some(if cell.inverse() {
        Style { text: back.unwrap_or_else(|| BACK.to_owned()), back: Some(text), bold }
    } else {
        Style { text, back, bold }
    })
}
