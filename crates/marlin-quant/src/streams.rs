//! The streams of a matrix while it is being encoded, row by row on all threads.

use marlin_format::{Error, Format, Parts, RowMut, Weight};

/// Zeroed streams of a whole matrix, with the format's own codebook.
#[derive(Debug)]
pub struct Streams {
    format: &'static dyn Format,
    rows: usize,
    cols: usize,
    codes: Vec<u8>,
    scales: Vec<u8>,
    zeros: Vec<u8>,
    tensor_scale: f32,
}

impl Streams {
    /// For a matrix `[rows, cols]`.
    pub fn new(format: &'static dyn Format, rows: usize, cols: usize, tensor_scale: f32) -> Streams {
        let layout = format.layout();
        Streams {
            format,
            rows,
            cols,
            codes: vec![0; rows * layout.code_bytes(cols)],
            scales: vec![0; rows * layout.scale_bytes(cols)],
            zeros: vec![0; rows * layout.zero_bytes(cols)],
            tensor_scale,
        }
    }

    /// Every row, to be written.
    pub fn rows_mut(&mut self) -> Vec<RowMut<'_>> {
        let (rows, cols, tensor_scale) = (self.rows, self.cols, self.tensor_scale);
        let codes = cut(&mut self.codes, rows).into_iter();
        let others = cut(&mut self.scales, rows).into_iter().zip(cut(&mut self.zeros, rows));
        let codebook = self.format.codebook();
        let row = |(codes, (scales, zeros))| RowMut { cols, codes, scales, zeros, codebook, tensor_scale };
        codes.zip(others).map(row).collect()
    }

    /// The matrix.
    ///
    /// # Errors
    /// [`Error::Columns`] when the format has no rows of this length.
    pub fn into_weight(self) -> Result<Weight, Error> {
        let Streams { format, rows, cols, tensor_scale, .. } = self;
        let (codes, scales, zeros) = (self.codes.into(), self.scales.into(), self.zeros.into());
        let parts = Parts { codes, scales, zeros, codebook: format.codebook().into(), tensor_scale };
        Weight::new(format, rows, cols, parts)
    }
}

/// One slice per row; empty ones for a stream the format does not have.
fn cut(stream: &mut [u8], rows: usize) -> Vec<&mut [u8]> {
    match stream.len().checked_div(rows) {
        None => Vec::new(),
        Some(0) => (0..rows).map(|_| Default::default()).collect(),
        Some(bytes) => stream.chunks_exact_mut(bytes).collect(),
    }
}
