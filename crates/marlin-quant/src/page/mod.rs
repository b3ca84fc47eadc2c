//! A report as one page: HTML, styles and charts in a single file that needs nothing else.
//!
//! Everything it shows is in the [`Report`], and so was measured. Names come from files of others and
//! are escaped.

mod style;
mod svg;

use std::{collections::BTreeMap, fmt::Write};

use crate::{FormatRow, Report, TensorReport};
use svg::{Cell, Point, bars, heat_map, scatter};

/// The page.
pub(crate) fn page(report: &Report) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Quantization of {0}</title><style>{1}</style></head><body><h1>Quantization of {0}</h1>",
        escape(&report.source),
        style::CSS
    );
    html.push_str(&totals(report));
    section(&mut html, "Formats", FORMATS, &format_table(&report.formats));
    section(&mut html, "Size against quality", SIZE, &size_chart(report));
    section(&mut html, "Error of each layer", LAYERS, &layer_chart(report));
    section(&mut html, "Error of each expert", EXPERTS, &expert_chart(report));
    section(&mut html, "Routing", ROUTING, &routing_chart(report));
    section(&mut html, "Codes", CODES, &code_charts(&report.formats));
    section(&mut html, "What was kept", KEPT, &kept_table(report));
    section(&mut html, "Rounded without regard to inputs", FALLBACKS, &fallback_table(report));
    html + "</body></html>\n"
}

const FORMATS: &str = "Bits per weight as written, scales and zero points included. Error is \
    ||W - Q|| / ||W|| of the codes that were written.";
const SIZE: &str = "A point a tensor, its area by its number of weights. Error is that of the outputs on \
    the calibration text where there was one, and of the weights otherwise, squared and relative.";
const LAYERS: &str = "A row a kind of tensor, a column a layer; darker is a larger error. Experts are \
    averaged.";
const EXPERTS: &str = "A row a layer, a column an expert: the mean error of its three matrices.";
const ROUTING: &str = "A row a layer, a column an expert: tokens of the calibration text that chose it.";
const CODES: &str = "How often each code is used, over all tensors of a format.";
const KEPT: &str = "Norms, biases and what scales choices are few values with a large effect; a router \
    decides which experts are played, and a small error there changes the choice.";
const FALLBACKS: &str = "Tensors that the calibration text did not reach, or not well enough.";

/// A section, unless there is nothing to show.
fn section(html: &mut String, title: &str, explanation: &str, content: &str) {
    if !content.is_empty() {
        let _ = write!(html, "<h2>{title}</h2><p>{explanation}</p><div class=\"wide\">{content}</div>");
    }
}

fn totals(report: &Report) -> String {
    let mut text = format!(
        "<p class=\"totals\"><b>{:.3}</b> bits per weight, <b>{:.2} MB</b>: 1/{:.2} of BF16, 1/{:.2} of \
         FP32; {} weights in {} tensors, all counted.",
        report.bits_per_weight,
        report.len_bytes as f64 / 1e6,
        report.ratio_to_bf16,
        report.ratio_to_fp32,
        report.weights,
        report.tensors.len()
    );
    match &report.calibration {
        Some(calibration) => {
            let (tokens, window) = (calibration.tokens, calibration.window);
            let _ = write!(text, " Calibrated with {tokens} tokens in windows of {window}.</p>");
        }
        None => text.push_str(" Rounded without calibration.</p>"),
    }
    text
}

fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut html = String::from("<table><tr>");
    header.iter().for_each(|cell| {
        let _ = write!(html, "<th>{cell}</th>");
    });
    let mut count = 0;
    for row in rows {
        html.push_str("</tr><tr>");
        for cell in row {
            let _ = write!(html, "<td>{}</td>", escape(&cell));
        }
        count += 1;
    }
    if count == 0 { String::new() } else { html + "</tr></table>" }
}

fn format_table(formats: &[FormatRow]) -> String {
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
    let row = |row: &FormatRow| {
        let (worst, name) = row.worst.clone().map_or((None, "-".to_owned()), |(name, e)| (Some(e), name));
        vec![
            row.format.clone(),
            row.tensors.to_string(),
            row.weights.to_string(),
            format!("{:.3}", row.bits_per_weight),
            number(row.mean_relative_error),
            number(worst),
            name,
        ]
    };
    let header = ["format", "tensors", "weights", "bits/weight", "mean error", "worst", "worst tensor"];
    table(&header, formats.iter().map(row))
}

/// The squared relative error that matters most of those measured.
fn error(tensor: &TensorReport) -> Option<f64> {
    let outputs = tensor.measured.as_ref().and_then(|measured| measured.relative_output_mse);
    outputs.or(tensor.relative_mse)
}

fn size_chart(report: &Report) -> String {
    let largest = report.tensors.iter().map(TensorReport::weights).max().unwrap_or(1).max(1) as f64;
    let point = |tensor: &TensorReport| {
        let (y, bits) = (error(tensor)?, 8.0 * tensor.len_bytes as f64 / tensor.weights().max(1) as f64);
        let title = format!("{}: {}, {bits:.3} bits per weight, error {y:.2e}", tensor.name, tensor.format);
        Some(Point { x: bits, y, size: tensor.weights() as f64 / largest, title })
    };
    let points: Vec<Point> = report.tensors.iter().filter_map(point).collect();
    if points.is_empty() {
        String::new()
    } else {
        scatter(&points, "bits per weight", "squared relative error")
    }
}

/// Layer, kind within the layer, and expert of a tensor's name.
fn place(name: &str) -> Option<(usize, String, Option<usize>)> {
    let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let rest = rest.strip_suffix(".weight").unwrap_or(rest);
    let layer = layer.parse().ok()?;
    let Some((before, after)) = rest.split_once(".experts.") else {
        return Some((layer, rest.to_owned(), None));
    };
    let (expert, kind) = after.split_once('.')?;
    Some((layer, format!("{before}.experts.{kind}"), Some(expert.parse().ok()?)))
}

/// Sums and counts of errors by two keys.
type Errors<K> = BTreeMap<(K, usize), (f64, usize)>;

fn add<K: Ord>(errors: &mut Errors<K>, key: (K, usize), error: f64) {
    let (sum, count) = errors.entry(key).or_default();
    *sum += error;
    *count += 1;
}

/// A heat map of means, a row a first key.
fn means<K: Ord + Clone>(errors: &Errors<K>, row_name: impl Fn(&K) -> String, column: &str) -> String {
    let mut keys: Vec<K> = errors.keys().map(|(key, _)| key.clone()).collect();
    keys.dedup();
    let rows: Vec<String> = keys.iter().map(row_name).collect();
    let columns = errors.keys().map(|(_, column)| column + 1).max().unwrap_or(0);
    let cell = |((key, at), (sum, count)): (&(K, usize), &(f64, usize))| {
        let row = keys.binary_search(key).unwrap_or(0);
        let value = sum / *count as f64;
        Cell { row, column: *at, value, title: format!("{}, {column} {at}: {value:.2e}", rows[row]) }
    };
    let cells: Vec<Cell> = errors.iter().map(cell).collect();
    if cells.is_empty() { String::new() } else { heat_map(&rows, columns, &cells) }
}

fn layer_chart(report: &Report) -> String {
    let mut errors: Errors<String> = BTreeMap::new();
    for tensor in &report.tensors {
        if let (Some((layer, kind, _)), Some(error)) = (place(&tensor.name), error(tensor)) {
            add(&mut errors, (kind, layer), error);
        }
    }
    means(&errors, Clone::clone, "layer")
}

fn expert_chart(report: &Report) -> String {
    let mut errors: Errors<usize> = BTreeMap::new();
    for tensor in &report.tensors {
        if let (Some((layer, _, Some(expert))), Some(error)) = (place(&tensor.name), error(tensor)) {
            add(&mut errors, (layer, expert), error);
        }
    }
    means(&errors, |layer| format!("layer {layer}"), "expert")
}

fn routing_chart(report: &Report) -> String {
    let Some(calibration) = report.calibration.as_ref().filter(|found| !found.routing.is_empty()) else {
        return String::new();
    };
    let rows: Vec<String> = calibration.routing.iter().map(|layer| layer.layer.clone()).collect();
    let columns = calibration.routing.iter().map(|layer| layer.tokens.len()).max().unwrap_or(0);
    let mut cells = Vec::new();
    for (row, layer) in calibration.routing.iter().enumerate() {
        for (column, tokens) in layer.tokens.iter().enumerate() {
            let title = format!("{}, expert {column}: {tokens} tokens", layer.layer);
            cells.push(Cell { row, column, value: *tokens as f64, title });
        }
    }
    heat_map(&rows, columns, &cells)
}

fn code_charts(formats: &[FormatRow]) -> String {
    let counted = formats.iter().filter(|row| !row.codes.is_empty());
    let chart = |row: &FormatRow| {
        format!("<figure><figcaption>{}</figcaption>{}</figure>", escape(&row.format), bars(&row.codes))
    };
    counted.map(chart).collect()
}

fn kept_table(report: &Report) -> String {
    let mut kept: BTreeMap<(&str, &str), (usize, u64)> = BTreeMap::new();
    for tensor in report.tensors.iter().filter(|tensor| tensor.relative_mse.is_none()) {
        let entry = kept.entry((&tensor.role, &tensor.format)).or_default();
        *entry = (entry.0 + 1, entry.1 + tensor.weights());
    }
    let row = |((role, format), (tensors, weights)): ((&str, &str), (usize, u64))| {
        vec![role.to_owned(), format.to_owned(), tensors.to_string(), weights.to_string()]
    };
    let mut html = table(&["what", "kept as", "tensors", "weights"], kept.into_iter().map(row));
    if !report.left_out.is_empty() {
        let _ = write!(
            html,
            "<p>Not written, as the model does not use them: {} tensors.</p>",
            report.left_out.len()
        );
    }
    html
}

fn fallback_table(report: &Report) -> String {
    let row = |tensor: &TensorReport| {
        let measured = tensor.measured.as_ref()?;
        let why = measured.fallback.clone()?;
        Some(vec![tensor.name.clone(), measured.rows.to_string(), why])
    };
    table(&["tensor", "tokens", "why"], report.tensors.iter().filter_map(row))
}

/// Text that HTML takes as text.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
