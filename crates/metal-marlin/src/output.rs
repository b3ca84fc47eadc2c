//! What the user sees: results on standard output, progress and notes on standard error.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::cli::OutputOptions;

/// Where results, notes and progress go.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    options: OutputOptions,
}

impl Output {
    /// By the user's options.
    pub fn new(options: OutputOptions) -> Output {
        Output { options }
    }

    /// Whether results are JSON.
    pub fn json(&self) -> bool {
        self.options.json
    }

    /// Prints a result: `value` as JSON, or the text that `text` makes of it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn result<T: Serialize>(&self, value: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        use std::io::Write;
        let text = if self.options.json { serde_json::to_string_pretty(value)? } else { text(value) };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", text.trim_end())?;
        out.flush()?;
        Ok(())
    }

    /// Prints a note that is no result.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.options.quiet {
            eprintln!("{}", text.as_ref());
        }
    }

    /// A bar over `total` units of work, hidden where nobody would see it.
    pub fn progress(&self, what: &str, total: u64, unit: Unit) -> ProgressBar {
        let hidden = self.options.quiet || !std::io::stderr().is_terminal();
        let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let amount = match unit {
            Unit::Bytes => "{bytes}/{total_bytes} {binary_bytes_per_sec}",
            Unit::Count => "{pos}/{len} {per_sec}",
        };
        let template = format!("{{msg:<12}} {{wide_bar}} {amount} {{eta}} left");
        let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(total), target).with_style(style);
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

/// What a progress bar counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Things.
    Count,
}

/// Text in columns: the first column to the left, the others to the right.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut text = String::new();
    for row in [&header, &rule].into_iter().chain(rows) {
        let cell = |(column, (cell, width)): (usize, (&String, &usize))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        };
        let line: Vec<String> = row.iter().zip(&widths).enumerate().map(cell).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A size for people: `98.36 MB`, in powers of ten as disks are sold.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.2} {}", UNITS[unit]) }
}

/// A count for people: `30.1 M`.
pub fn count(number: u64) -> String {
    match number {
        0..10_000 => number.to_string(),
        10_000..1_000_000 => format!("{:.1} k", number as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} M", number as f64 / 1e6),
        _ => format!("{:.2} B", number as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_change_unit_where_they_should() {
        let shown = [0, 999, 1000, 999_949, 999_950, 98_362_432, 17_000_000_000].map(size);
        assert_eq!(shown, ["0 B", "999 B", "1.00 kB", "999.95 kB", "1.00 MB", "98.36 MB", "17.00 GB"]);
    }

    #[test]
    fn columns_line_up() {
        let text = table(&["format", "bits"], &[vec!["fp4".into(), "4.500".into()]]);
        assert_eq!(text, "format   bits\n------  -----\nfp4     4.500\n");
    }
}
