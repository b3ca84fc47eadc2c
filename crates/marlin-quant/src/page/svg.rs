//! Charts as inline SVG: no script, no file, colours from the page's own variables.

use std::fmt::Write;

use super::escape;

/// A cell's place and what it shows.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub row: usize,
    pub column: usize,
    /// From 0 to the chart's largest.
    pub value: f64,
    /// Shown on hovering.
    pub title: String,
}

/// A map of cells, darker where the value is larger. Rows have names; columns count from 0.
pub(super) fn heat_map(rows: &[String], columns: usize, cells: &[Cell]) -> String {
    const CELL: usize = 14;
    let label = 7 * rows.iter().map(|row| row.chars().count()).max().unwrap_or(0) + 8;
    let (width, height) = (label + CELL * columns, CELL * (rows.len() + 1));
    let largest = cells.iter().map(|cell| cell.value).fold(0.0, f64::max);
    let mut svg = open(width, height);
    for (at, row) in rows.iter().enumerate() {
        let y = CELL * at + 11;
        let _ = write!(svg, r#"<text x="{}" y="{y}" text-anchor="end">{}</text>"#, label - 6, escape(row));
    }
    for cell in cells {
        let (x, y) = (label + CELL * cell.column, CELL * cell.row);
        // The square root keeps small values apart.
        let share = if largest > 0.0 { (cell.value / largest).max(0.0).sqrt() } else { 0.0 };
        let _ = write!(
            svg,
            r#"<rect class="cell" x="{x}" y="{y}" width="13" height="13" fill-opacity="{share:.3}">"#
        );
        let _ = write!(svg, "<title>{}</title></rect>", escape(&cell.title));
    }
    let step = columns.div_ceil(16).max(1);
    for column in (0..columns).step_by(step) {
        let (x, y) = (label + CELL * column, CELL * rows.len() + 11);
        let _ = write!(svg, r#"<text x="{x}" y="{y}">{column}</text>"#);
    }
    svg + "</svg>"
}

/// One bar a count, with its share on hovering.
pub(super) fn bars(counts: &[u64]) -> String {
    const BAR: usize = 18;
    const HEIGHT: usize = 90;
    let total: u64 = counts.iter().sum();
    let largest = counts.iter().copied().max().unwrap_or(0).max(1);
    let mut svg = open(BAR * counts.len(), HEIGHT + 14);
    for (at, count) in counts.iter().enumerate() {
        let height = HEIGHT as f64 * *count as f64 / largest as f64;
        let share = 100.0 * *count as f64 / total.max(1) as f64;
        let _ = write!(
            svg,
            r#"<rect class="bar" x="{}" y="{:.1}" width="16" height="{height:.1}">"#,
            BAR * at,
            HEIGHT as f64 - height
        );
        let (x, y) = (BAR * at + 8, HEIGHT + 12);
        let _ = write!(svg, "<title>code {at}: {share:.2} %</title></rect>");
        let _ = write!(svg, r#"<text x="{x}" y="{y}" text-anchor="middle">{at}</text>"#);
    }
    svg + "</svg>"
}

/// A point of [`scatter`].
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub x: f64,
    pub y: f64,
    /// Area follows weight: 0 to 1.
    pub size: f64,
    pub title: String,
}

/// Points over a linear x and a logarithmic y axis, which leaves out values of 0.
pub(super) fn scatter(points: &[Point], x_name: &str, y_name: &str) -> String {
    const WIDTH: f64 = 560.0;
    const HEIGHT: f64 = 260.0;
    const LEFT: f64 = 60.0;
    const BOTTOM: f64 = 34.0;
    let points: Vec<&Point> = points.iter().filter(|point| point.y > 0.0).collect();
    let log = |point: &&Point| point.y.log10();
    let lowest = points.iter().map(log).fold(f64::INFINITY, f64::min).floor();
    let highest = points.iter().map(log).fold(f64::NEG_INFINITY, f64::max).ceil().max(lowest + 1.0);
    let right = points.iter().map(|point| point.x).fold(1.0, f64::max).ceil() + 0.5;
    let mut svg = open(WIDTH as usize, HEIGHT as usize);
    if points.is_empty() {
        return svg + "</svg>";
    }
    let x = |value: f64| LEFT + (WIDTH - LEFT - 8.0) * value / right;
    let y = |log: f64| 8.0 + (HEIGHT - BOTTOM - 8.0) * (highest - log) / (highest - lowest);
    for power in lowest as i32..=highest as i32 {
        let at = y(f64::from(power));
        let _ = write!(svg, r#"<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="{at:.1}" y2="{at:.1}"/>"#);
        let (right, middle) = (LEFT - 4.0, at + 4.0);
        let _ = write!(svg, r#"<text x="{right:.0}" y="{middle:.1}" text-anchor="end">1e{power}</text>"#);
    }
    for bits in (0..=right as usize).step_by(if right > 10.0 { 4 } else { 1 }) {
        let (at, bottom) = (x(bits as f64), HEIGHT - BOTTOM + 14.0);
        let _ = write!(svg, r#"<text x="{at:.1}" y="{bottom}" text-anchor="middle">{bits}</text>"#);
    }
    for point in points {
        let radius = 2.0 + 8.0 * point.size.sqrt();
        let _ = write!(
            svg,
            r#"<circle class="point" cx="{:.1}" cy="{:.1}" r="{radius:.1}"><title>{}</title></circle>"#,
            x(point.x),
            y(point.y.log10()),
            escape(&point.title)
        );
    }
    let (middle, bottom) = (WIDTH / 2.0, HEIGHT - 4.0);
    let _ = write!(
        svg,
        r#"<text x="{middle}" y="{bottom}" text-anchor="middle">{}</text><text x="{}" y="18">{}</text>"#,
        escape(x_name),
        LEFT + 6.0,
        escape(y_name)
    );
    svg + "</svg>"
}

/// A chart that shrinks with a narrow screen and scrolls when it cannot.
fn open(width: usize, height: usize) -> String {
    format!(r#"<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">"#)
}
