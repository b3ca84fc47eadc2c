//! The weight formats that a user may ask for: by name, and what help says of each.

use marlin_format::{Error, FORMATS, Format, Rounding, Weight};

/// A format that can be written, by its name.
pub fn writable(name: &str) -> Result<&'static dyn Format, String> {
    let format = marlin_format::by_name(name).map_err(|error| error.to_string())?;
    if !is_writable(format) {
        return Err(Error::ReadOnly { format: format.name() }.to_string());
    }
    Ok(format)
}

/// Whether a format can be written: what one value shows.
fn is_writable(format: &'static dyn Format) -> bool {
    let cols = format.layout().cols_multiple();
    Weight::encode(format, 1, cols, &vec![1.0; cols], Rounding::default()).is_ok()
}

/// Every format that can be written, its bits and what it is, a line each.
pub fn help() -> String {
    let formats = || FORMATS.iter().copied().filter(|format| is_writable(*format));
    let width = formats().map(|format| format.name().len()).max().unwrap_or(0);
    let line = |format: &dyn Format| {
        let bits = format.layout().bits_per_weight();
        format!("  {:width$}  {bits:6.3}  {}\n", format.name(), format.summary())
    };
    let lines: String = formats().map(line).collect();
    format!("Formats, with the bits of a weight and its share of the scales:\n{lines}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_what_can_be_written_and_nothing_else() {
        let help = help();
        for format in FORMATS {
            let listed = help.lines().any(|line| line.split_whitespace().next() == Some(format.name()));
            assert_eq!(listed, writable(format.name()).is_ok(), "{}", format.name());
        }
        assert!(help.lines().all(|line| line.chars().count() <= 110), "{help}");
    }
}
