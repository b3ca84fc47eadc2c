//! The tables of docs/quantization.md, made of the records.
//!
//! A table stands between two comments and is replaced as a whole:
//!
//! ```text
//! <!-- quality: marlin-mini -->
//! ...
//! <!-- end -->
//! ```

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};

use super::{HEADER, RECORDS};

/// The page.
pub const PAGE: &str = "docs/quantization.md";
const BEGIN: &str = "<!-- quality: ";
const END: &str = "<!-- end -->";

/// How a format is used, in the order of the table's columns; a record's `what` ends with it.
const WAYS: [&str; 3] = ["plain", "calibrated", "mixed"];

/// Writes all tables anew.
pub fn write(root: &Path) -> Result<()> {
    let path = root.join(PAGE);
    let text = fs::read_to_string(&path).with_context(|| PAGE)?;
    fs::write(&path, with_tables(root, &text)?)?;
    println!("wrote the tables of {PAGE}");
    Ok(())
}

/// The page with the tables that the records give.
pub fn with_tables(root: &Path, text: &str) -> Result<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(BEGIN) {
        let (before, after) = rest.split_at(at + BEGIN.len());
        let name = after.lines().next().unwrap_or_default().trim_end_matches(" -->");
        let end = after.find(END).with_context(|| format!("{PAGE}: the table {name} has no {END}"))?;
        let record = fs::read_to_string(root.join(RECORDS).join(format!("{name}.csv")));
        let table = table(&record.with_context(|| format!("the record of the table {name}"))?)?;
        out.push_str(&format!("{before}{name} -->\n{table}"));
        rest = &after[end..];
    }
    Ok(out + rest)
}

/// One line of a record.
pub struct Row<'a> {
    /// The format, or the size that was asked for.
    pub format: &'a str,
    /// One of [`WAYS`].
    pub way: &'a str,
    /// Bits per weight.
    pub bits: f64,
    perplexity: f64,
    kl: f64,
    top1: f64,
}

/// Reads a line of a record.
pub fn row(line: &str) -> Result<Row<'_>> {
    let cells: Vec<&str> = line.split(',').collect();
    let cell = |name: &str| {
        let at = HEADER.split(',').position(|column| column == name)?;
        cells.get(at).copied()
    };
    let number = |name: &str| -> Result<f64> {
        let text = cell(name).with_context(|| format!("{line}: no {name}"))?;
        text.parse().with_context(|| format!("{line}: {name} is {text}, expected a number"))
    };
    let what = cell("what").and_then(|what| what.rsplit_once(' '));
    let (format, way) = what.with_context(|| format!("{line}: expected a format and how it is used"))?;
    Ok(Row {
        format,
        way,
        bits: number("bits")?,
        perplexity: number("perplexity")?,
        kl: number("kl")?,
        top1: number("top1")?,
    })
}

/// A record as a table: a line a format, by size.
fn table(record: &str) -> Result<String> {
    let mut lines = record.lines();
    ensure!(lines.next() == Some(HEADER), "a record begins with {HEADER}");
    let rows = lines.map(row).collect::<Result<Vec<Row<'_>>>>()?;
    let mut formats: Vec<(&str, f64)> = Vec::new();
    for row in &rows {
        if !formats.iter().any(|(format, _)| *format == row.format) {
            formats.push((row.format, row.bits));
        }
    }
    formats.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut table = "| all tensors in | bits per weight | KL: plain | calibrated | mixed | \
         top-1, %: plain | calibrated | mixed | perplexity: plain | calibrated | mixed |\n"
        .to_owned();
    table.push_str(&format!("|{}\n", "---|".repeat(11)));
    for (format, bits) in formats {
        let cells = |of: &dyn Fn(&Row<'_>) -> String| {
            WAYS.map(|way| {
                let row = rows.iter().find(|row| (row.format, row.way) == (format, way));
                row.map_or(String::new(), of)
            })
            .join(" | ")
        };
        let kl = cells(&|row| format!("{:.4}", row.kl));
        let top1 = cells(&|row| format!("{:.1}", 100.0 * row.top1));
        let perplexity = cells(&|row| format!("{:.2}", row.perplexity));
        let name = if format.parse::<f64>().is_ok() { "" } else { format };
        table.push_str(&format!("| {name} | {bits:.3} | {kl} | {top1} | {perplexity} |\n"));
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_what_the_records_say() {
        let root = crate::root();
        let page = fs::read_to_string(root.join(PAGE)).unwrap();
        assert_eq!(with_tables(&root, &page).unwrap(), page, "run `cargo xtask quality --tables`");
    }

    #[test]
    fn a_table_has_a_line_for_each_format_by_size() {
        let line = |what: &str, bits: f64| format!("d,c,cpu,x,{what},{bits},1,2.0,0.5,0,0,0.9");
        let record = [HEADER, &line("fp4 plain", 4.5), &line("fp4 mixed", 4.5), &line("3.41 mixed", 3.41)];
        let table = table(&record.join("\n")).unwrap();
        let lines: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(lines[0], "|  | 3.410 |  |  | 0.5000 |  |  | 90.0 |  |  | 2.00 |");
        assert_eq!(lines[1], "| fp4 | 4.500 | 0.5000 |  | 0.5000 | 90.0 |  | 90.0 | 2.00 |  | 2.00 |");
    }

    #[test]
    fn a_record_of_other_columns_is_refused() {
        assert!(table("a,b\n1,2").is_err());
        assert!(table(&format!("{HEADER}\nd,c,cpu,x,fp4 plain,many,1,2,3,4,5,6")).is_err());
    }
}
