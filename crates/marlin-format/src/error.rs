//! What can be wrong with a weight, its name or its bytes.

use crate::{FORMATS, Layout, by_name};

/// An error of this crate; the text says what was found and what was expected.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No format has this name.
    #[error("format {name}: unknown, expected one of {}", names())]
    UnknownFormat {
        /// The name that was asked for.
        name: String,
    },
    /// The format is read from other people's files and never written.
    #[error("format {format}: is only read, never written")]
    ReadOnly {
        /// The format's name.
        format: &'static str,
    },
    /// A stream of the weight has another length than its shape needs.
    #[error("{stream}: {found} bytes, {format} [{rows}, {cols}] needs {expected}")]
    Length {
        /// `codes`, `scales` or `zeros`.
        stream: &'static str,
        /// The format's name.
        format: &'static str,
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        cols: usize,
        /// Bytes there are.
        found: usize,
        /// Bytes there should be.
        expected: usize,
    },
    /// The columns cannot be stored in this format.
    #[error("{cols} columns: {format} needs a multiple of {multiple}")]
    Columns {
        /// The format's name.
        format: &'static str,
        /// Columns of the matrix.
        cols: usize,
        /// What they must be a multiple of.
        multiple: usize,
    },
    /// Groups of another program are not made of ours.
    #[error("groups of {found} columns, expected a multiple of {multiple}, or one group a row")]
    GroupSize {
        /// Columns of a group.
        found: usize,
        /// What they must be a multiple of.
        multiple: usize,
    },
    /// A value to encode is NaN or infinite.
    #[error("row {row}, column {col}: {value}, expected a finite value")]
    NotFinite {
        /// Row of the value.
        row: usize,
        /// Column of the value.
        col: usize,
        /// The value.
        value: f32,
    },
    /// A value to encode is finite but beyond what the format holds.
    #[error("row {row}, column {col}: {value} overflows {format}, largest {limit}")]
    Overflow {
        /// The format's name.
        format: &'static str,
        /// Row of the value; 0 from [`crate::Format::encode`], which sees one row.
        row: usize,
        /// Column of the value.
        col: usize,
        /// The value.
        value: f32,
        /// Largest magnitude the format holds.
        limit: f32,
    },
    /// The codebook of the weight has another length than its codes need, or a value that is not a number.
    #[error("codebook {found}, {format} expects {}", codebook(format))]
    Codebook {
        /// The format's name.
        format: &'static str,
        /// Its length, or the value.
        found: String,
    },
    /// The scale of the whole tensor is not a number that values can be made with.
    #[error("tensor scale {found}: {format} expects a finite one")]
    TensorScale {
        /// The format's name.
        format: &'static str,
        /// The scale.
        found: f32,
    },
    /// A group has a scale, offset or zero point that values cannot be made with.
    #[error("row {row}, group {group}: {field} {found}, {format} expects {}", expected(format, field))]
    Group {
        /// The format's name.
        format: &'static str,
        /// Row of the group.
        row: usize,
        /// The group within the row.
        group: usize,
        /// `scale`, `offset`, `zero point` or `positions`.
        field: &'static str,
        /// What it is.
        found: f32,
    },
    /// A slice given by the caller has the wrong length.
    #[error("{found} values, expected {expected}")]
    Values {
        /// Values there are.
        found: usize,
        /// Values there should be.
        expected: usize,
    },
}

impl Error {
    /// The same error, naming `row` where it names row 0: [`crate::Format::encode`] sees one row
    /// and does not know which.
    pub fn in_row(mut self, at: usize) -> Self {
        if let Error::Overflow { row, .. } = &mut self {
            *row += at;
        }
        self
    }
}

fn expected(format: &str, field: &str) -> String {
    match (field, by_name(format).map(|format| format.layout())) {
        ("zero point", Ok(Layout::Grouped { code, .. })) => format!("at most {}", code.max_zero()),
        ("positions", _) => "two that ascend".to_owned(),
        ("scale", _) => "one with which every value is finite".to_owned(),
        _ => "a finite one".to_owned(),
    }
}

fn codebook(format: &str) -> String {
    match by_name(format).map_or(0, |format| format.layout().codebook_len()) {
        0 => "none".to_owned(),
        len => format!("{len} finite values, not all 0"),
    }
}

fn names() -> String {
    let names: Vec<_> = FORMATS.iter().map(|format| format.name()).collect();
    names.join(", ")
}
