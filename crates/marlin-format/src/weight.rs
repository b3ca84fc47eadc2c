//! A matrix in some format: checked once when made, then read row by row without further checks.

use std::sync::Arc;

use bytes::Bytes;

use crate::{Error, Flaw, Format, Layout, Rounding, Unpacked};

/// The streams of a whole matrix, rows back to back, each possibly a window of a mapped file.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Codes, blocks or dense values: `rows * code_bytes(cols)`.
    pub codes: Bytes,
    /// Group scales: `rows * scale_bytes(cols)`.
    pub scales: Bytes,
    /// Zero points, one byte each: `rows * zero_bytes(cols)`.
    pub zeros: Bytes,
    /// The values that lookup codes stand for, in the order of the codes; empty for other formats.
    pub codebook: Arc<[f32]>,
    /// The factor common to all scales; 1 where the format has none.
    pub tensor_scale: f32,
}

impl Parts {
    /// Parts of a format that has one stream only.
    pub fn codes_only(codes: Bytes) -> Self {
        let codebook = Arc::default();
        Parts { codes, scales: Bytes::new(), zeros: Bytes::new(), codebook, tensor_scale: 1.0 }
    }
}

/// One row of a weight.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Columns.
    pub cols: usize,
    /// The row's codes.
    pub codes: &'a [u8],
    /// The row's scales.
    pub scales: &'a [u8],
    /// The row's zero points.
    pub zeros: &'a [u8],
    /// The weight's codebook.
    pub codebook: &'a [f32],
    /// The tensor's scale.
    pub tensor_scale: f32,
}

impl<'a> Row<'a> {
    /// A row of no columns that has one stream only.
    pub fn codes_only(codes: &'a [u8]) -> Self {
        Row { cols: 0, codes, scales: &[], zeros: &[], codebook: &[], tensor_scale: 1.0 }
    }
}

/// One row to be encoded.
#[derive(Debug)]
pub struct RowMut<'a> {
    /// Columns.
    pub cols: usize,
    /// Where the codes go; zeroed by the caller.
    pub codes: &'a mut [u8],
    /// Where the scales go.
    pub scales: &'a mut [u8],
    /// Where the zero points go.
    pub zeros: &'a mut [u8],
    /// The weight's codebook, chosen before.
    pub codebook: &'a [f32],
    /// The tensor's scale, chosen before.
    pub tensor_scale: f32,
}

impl RowMut<'_> {
    /// The row as it stands.
    pub fn as_row(&self) -> Row<'_> {
        let RowMut { cols, codebook, tensor_scale, .. } = *self;
        Row { cols, codes: self.codes, scales: self.scales, zeros: self.zeros, codebook, tensor_scale }
    }

    /// The same row, lent for a shorter time.
    pub fn reborrow(&mut self) -> RowMut<'_> {
        let RowMut { cols, codebook, tensor_scale, .. } = *self;
        RowMut { cols, codes: self.codes, scales: self.scales, zeros: self.zeros, codebook, tensor_scale }
    }
}

/// A matrix `[rows, cols]`, row-major: `y = W x` has `rows` outputs. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub struct Weight {
    format: &'static dyn Format,
    rows: usize,
    cols: usize,
    parts: Parts,
}

impl Weight {
    /// Checks the lengths of `parts` against the shape.
    ///
    /// # Errors
    /// [`Error::Length`] or [`Error::Columns`].
    pub fn new(format: &'static dyn Format, rows: usize, cols: usize, parts: Parts) -> Result<Self, Error> {
        let layout = format.layout();
        let multiple = layout.cols_multiple();
        if !cols.is_multiple_of(multiple) {
            return Err(Error::Columns { format: format.name(), cols, multiple });
        }
        let streams = [
            ("codes", parts.codes.len(), layout.code_bytes(cols)),
            ("scales", parts.scales.len(), layout.scale_bytes(cols)),
            ("zeros", parts.zeros.len(), layout.zero_bytes(cols)),
        ];
        for (stream, found, row_bytes) in streams {
            let expected = rows.saturating_mul(row_bytes);
            if found != expected {
                return Err(Error::Length { stream, format: format.name(), rows, cols, found, expected });
            }
        }
        if parts.codebook.len() != layout.codebook_len() {
            check_codebook(format, &parts.codebook)?;
        }
        Ok(Weight { format, rows, cols, parts })
    }

    /// Row-major `values` as they are, in the format `f32`.
    ///
    /// # Errors
    /// [`Error::Values`] when there are not `rows * cols` of them.
    pub fn from_f32(rows: usize, cols: usize, values: &[f32]) -> Result<Self, Error> {
        if rows.checked_mul(cols) != Some(values.len()) {
            return Err(Error::Values { found: values.len(), expected: rows.saturating_mul(cols) });
        }
        let codes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Weight::new(&crate::dense::F32, rows, cols, Parts::codes_only(codes.into()))
    }

    /// Encodes row-major `values` on the calling thread, with the format's own codebook if it has one.
    ///
    /// # Errors
    /// [`Error::Values`], [`Error::Columns`], [`Error::NotFinite`], [`Error::Overflow`] or
    /// [`Error::ReadOnly`].
    pub fn encode(
        format: &'static dyn Format,
        rows: usize,
        cols: usize,
        values: &[f32],
        how: Rounding<'_>,
    ) -> Result<Self, Error> {
        Weight::encode_with(format, rows, cols, values, how, format.codebook())
    }

    /// The same with another codebook.
    ///
    /// # Errors
    /// Those of [`Weight::encode`], and [`Error::Codebook`].
    pub fn encode_with(
        format: &'static dyn Format,
        rows: usize,
        cols: usize,
        values: &[f32],
        how: Rounding<'_>,
        codebook: &[f32],
    ) -> Result<Self, Error> {
        check_codebook(format, codebook)?;
        if values.len() != rows * cols {
            return Err(Error::Values { found: values.len(), expected: rows * cols });
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::NotFinite { row: at / cols, col: at % cols, value: values[at] });
        }
        let absmax = values.iter().fold(0.0f32, |max, value| max.max(value.abs()));
        let tensor_scale = format.tensor_scale(absmax);
        let layout = format.layout();
        let (code, scale, zero) =
            (layout.code_bytes(cols), layout.scale_bytes(cols), layout.zero_bytes(cols));
        let mut codes = vec![0; rows * code];
        let mut scales = vec![0; rows * scale];
        let mut zeros = vec![0; rows * zero];
        for row in 0..rows {
            let out = RowMut {
                cols,
                codes: &mut codes[row * code..][..code],
                scales: &mut scales[row * scale..][..scale],
                zeros: &mut zeros[row * zero..][..zero],
                codebook,
                tensor_scale,
            };
            format.encode(&values[row * cols..][..cols], how, out).map_err(|error| error.in_row(row))?;
        }
        let parts = Parts {
            codes: codes.into(),
            scales: scales.into(),
            zeros: zeros.into(),
            codebook: codebook.into(),
            tensor_scale,
        };
        Weight::new(format, rows, cols, parts)
    }

    /// Looks for codebooks, scales, offsets and zero points that no encoder writes: for weights out of
    /// untrusted files. Reads the scales only (block formats: the floats of each block), so dense
    /// values and codes go unseen; codes are all valid.
    ///
    /// # Errors
    /// [`Error::Codebook`], [`Error::TensorScale`], or [`Error::Group`] for the first bad group.
    pub fn validate(&self) -> Result<(), Error> {
        check_codebook(self.format, &self.parts.codebook)?;
        let format = self.format.name();
        if !self.parts.tensor_scale.is_finite() {
            return Err(Error::TensorScale { format, found: self.parts.tensor_scale });
        }
        for row in 0..self.rows {
            if let Some(Flaw { group, field, value }) = self.format.first_flaw(self.row(row)) {
                return Err(Error::Group { format, row, group, field, found: value });
            }
        }
        Ok(())
    }

    /// The format.
    pub fn format(&self) -> &'static dyn Format {
        self.format
    }

    /// The format's layout.
    pub fn layout(&self) -> Layout {
        self.format.layout()
    }

    /// Rows: outputs of `y = W x`.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns: inputs of `y = W x`.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The streams.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Bytes in memory, all streams.
    pub fn len_bytes(&self) -> usize {
        self.parts.codes.len() + self.parts.scales.len() + self.parts.zeros.len()
    }

    /// One row. Panics if `row` is out of range: that is a bug of the caller.
    pub fn row(&self, row: usize) -> Row<'_> {
        fn window(stream: &[u8], row: usize, bytes: usize) -> &[u8] {
            &stream[row * bytes..][..bytes]
        }
        let layout = self.layout();
        Row {
            cols: self.cols,
            codes: window(&self.parts.codes, row, layout.code_bytes(self.cols)),
            scales: window(&self.parts.scales, row, layout.scale_bytes(self.cols)),
            zeros: window(&self.parts.zeros, row, layout.zero_bytes(self.cols)),
            codebook: &self.parts.codebook,
            tensor_scale: self.parts.tensor_scale,
        }
    }

    /// The rows `range` as a weight of its own, sharing the bytes. Panics if out of range.
    pub fn slice_rows(&self, range: std::ops::Range<usize>) -> Weight {
        let layout = self.layout();
        let window = |stream: &Bytes, bytes: usize| stream.slice(range.start * bytes..range.end * bytes);
        Weight {
            format: self.format,
            rows: range.len(),
            cols: self.cols,
            parts: Parts {
                codes: window(&self.parts.codes, layout.code_bytes(self.cols)),
                scales: window(&self.parts.scales, layout.scale_bytes(self.cols)),
                zeros: window(&self.parts.zeros, layout.zero_bytes(self.cols)),
                codebook: self.parts.codebook.clone(),
                tensor_scale: self.parts.tensor_scale,
            },
        }
    }

    /// The rows in another order (row `i` of the result is row `order[i]`), bytes copied, values kept.
    pub fn permute_rows(&self, order: &[usize]) -> Weight {
        let layout = self.layout();
        let gather = |stream: &Bytes, bytes: usize| -> Bytes {
            order.iter().flat_map(|&row| &stream[row * bytes..][..bytes]).copied().collect::<Vec<u8>>().into()
        };
        Weight {
            format: self.format,
            rows: order.len(),
            cols: self.cols,
            parts: Parts {
                codes: gather(&self.parts.codes, layout.code_bytes(self.cols)),
                scales: gather(&self.parts.scales, layout.scale_bytes(self.cols)),
                zeros: gather(&self.parts.zeros, layout.zero_bytes(self.cols)),
                codebook: self.parts.codebook.clone(),
                tensor_scale: self.parts.tensor_scale,
            },
        }
    }

    /// Writes the values of one row to `out` (length `cols`).
    pub fn decode_row(&self, row: usize, out: &mut [f32]) {
        self.format.decode(self.row(row), out);
    }

    /// All values, row-major: for tests and small tensors.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.rows * self.cols];
        if self.cols > 0 {
            for (row, out) in values.chunks_exact_mut(self.cols).enumerate() {
                self.decode_row(row, out);
            }
        }
        values
    }

    /// Takes one row apart; see [`Format::unpack`].
    pub fn unpack_row(&self, row: usize, out: Unpacked<'_>) -> bool {
        self.format.unpack(self.row(row), out)
    }
}

/// Whether `codebook` is as long as the format's codes need, and of values they can be decoded to.
fn check_codebook(format: &dyn Format, codebook: &[f32]) -> Result<(), Error> {
    let len = format.layout().codebook_len();
    let found = if codebook.len() != len {
        format!("of {} values", codebook.len())
    } else if let Some(value) = codebook.iter().find(|value| !value.is_finite()) {
        format!("with {value}")
    } else if len > 0 && codebook.iter().all(|&value| value == 0.0) {
        "of zeros".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::Codebook { format: format.name(), found })
}
