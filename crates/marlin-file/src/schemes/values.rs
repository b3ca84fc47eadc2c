//! Numbers out of tensors: scales and indices as this machine's, whatever they are stored as.

use half::{bf16, f16};
use marlin_format::import::{read_stream, row_bytes};
use marlin_format::{Parts, Weight, by_name};

use crate::{Dtype, TensorView};

/// Types that scales and offsets come in.
pub(super) const FLOATS: [Dtype; 3] = [Dtype::F16, Dtype::Bf16, Dtype::F32];
/// How errors spell them.
pub(super) const FLOAT_NAMES: &str = "F16, BF16 or F32";
/// Types of packed words.
pub(super) const WORDS: [Dtype; 2] = [Dtype::I32, Dtype::U32];

/// The values of a tensor of one of [`FLOATS`].
pub(super) fn floats(tensor: &TensorView) -> Vec<f32> {
    let halves = tensor.data.as_chunks::<2>().0.iter();
    match tensor.dtype {
        Dtype::F16 => halves.map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect(),
        Dtype::Bf16 => halves.map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect(),
        _ => tensor.data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
    }
}

/// The numbers of an I32 tensor.
pub(super) fn integers(tensor: &TensorView) -> Vec<i32> {
    tensor.data.as_chunks::<4>().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect()
}

/// The numbers of an I8 tensor.
pub(super) fn bytes(tensor: &TensorView) -> impl Iterator<Item = i8> {
    tensor.data.iter().map(|byte| *byte as i8)
}

/// `[rows, cols]` values as `[cols, rows]`.
pub(super) fn transpose<T: Copy>(values: &[T], rows: usize, cols: usize) -> Vec<T> {
    (0..cols).flat_map(|col| (0..rows).map(move |row| values[row * cols + col])).collect()
}

/// Values as a dense weight, in bf16 if that holds them all.
pub(super) fn dense(rows: usize, cols: usize, values: &[f32]) -> Result<Weight, marlin_format::Error> {
    if values.iter().any(|value| value.to_bits() & 0xffff != 0) {
        return Weight::from_f32(rows, cols, values);
    }
    let bytes: Vec<u8> = values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect();
    Weight::new(by_name("bf16")?, rows, cols, Parts::codes_only(bytes.into()))
}

/// Numbers of `bits` bits in rows of whole words, `cols` a row.
pub(super) fn unpack(bits: usize, rows: &[u8], cols: usize) -> Vec<i16> {
    let mut codes = vec![0; cols];
    let mut all = Vec::new();
    for row in rows.chunks_exact(row_bytes(bits, cols)) {
        read_stream(bits, row, &mut codes);
        all.extend(codes.iter().map(|&code| i16::from(code)));
    }
    all
}
