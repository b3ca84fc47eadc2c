//! Rounding one matrix to a format on all threads, and measuring the error of what was written.
//!
//! The result does not depend on the number of threads.

use marlin_format::{Error, Format, Rounding, Weight};
use rayon::prelude::*;

use crate::streams::Streams;

/// Values a task should have at least, so that threads are worth their while.
const TASK_VALUES: usize = 1 << 16;

fn min_rows(cols: usize) -> usize {
    (TASK_VALUES / cols.max(1)).max(1)
}

/// Sums of squares over a tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SquaredError {
    /// Sum of (w - q)^2.
    pub error: f64,
    /// Sum of w^2.
    pub total: f64,
}

impl SquaredError {
    /// `||W - Q||^2 / ||W||^2`; 0 for an all-zero tensor that stayed so.
    pub fn relative(&self) -> f64 {
        if self.error == 0.0 { 0.0 } else { self.error / self.total }
    }
}

impl std::iter::Sum for SquaredError {
    fn sum<I: Iterator<Item = SquaredError>>(parts: I) -> SquaredError {
        parts.fold(SquaredError::default(), |sum, part| SquaredError {
            error: sum.error + part.error,
            total: sum.total + part.total,
        })
    }
}

/// A quantized matrix and what it lost.
#[derive(Clone, Debug)]
pub struct Rounded {
    /// The matrix in its new format.
    pub weight: Weight,
    /// Measured on the codes of `weight`.
    pub error: SquaredError,
}

/// Rounds `source` to `format`.
///
/// # Errors
/// [`Error::NotFinite`] with the place of a NaN or infinity, [`Error::ReadOnly`], [`Error::Columns`].
pub fn round(source: &Weight, format: &'static dyn Format, how: Rounding<'_>) -> Result<Rounded, Error> {
    let (rows, cols) = (source.rows(), source.cols());
    let tensor_scale = format.tensor_scale(absmax(source)?);
    let mut streams = Streams::new(format, rows, cols, tensor_scale);
    let errors: Vec<SquaredError> = streams
        .rows_mut()
        .into_par_iter()
        .enumerate()
        .with_min_len(min_rows(cols))
        .map_init(
            || (vec![0.0; cols], vec![0.0; cols]),
            |(values, decoded), (row, mut out)| {
                source.decode_row(row, values);
                format.encode(values, how, out.reborrow()).map_err(|error| error.in_row(row))?;
                format.decode(out.as_row(), decoded);
                Ok(squared_error(values, decoded))
            },
        )
        .collect::<Result<_, Error>>()?;
    Ok(Rounded { weight: streams.into_weight()?, error: errors.into_iter().sum() })
}

/// The largest magnitude; an error for the first value that is not finite.
pub(crate) fn absmax(source: &Weight) -> Result<f32, Error> {
    let maxima: Vec<f32> = (0..source.rows())
        .into_par_iter()
        .with_min_len(min_rows(source.cols()))
        .map_init(
            || vec![0.0f32; source.cols()],
            |values, row| {
                source.decode_row(row, values);
                match values.iter().position(|value| !value.is_finite()) {
                    Some(col) => Err(Error::NotFinite { row, col, value: values[col] }),
                    None => Ok(values.iter().fold(0.0, |max: f32, value| max.max(value.abs()))),
                }
            },
        )
        .collect::<Result<_, Error>>()?;
    Ok(maxima.into_iter().fold(0.0, f32::max))
}

/// Of one row and what its codes decode to.
pub(crate) fn squared_error(values: &[f32], decoded: &[f32]) -> SquaredError {
    let square = |value: f32| f64::from(value) * f64::from(value);
    SquaredError {
        error: values.iter().zip(decoded).map(|(value, decoded)| square(value - decoded)).sum(),
        total: values.iter().map(|value| square(*value)).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use marlin_format::Parts;

    fn source(rows: usize, cols: usize) -> Weight {
        let values: Vec<f32> = (0..rows * cols).map(|i| ((i * 37 % 101) as f32 - 50.0) / 900.0).collect();
        Weight::encode(marlin_format::by_name("f32").unwrap(), rows, cols, &values, Rounding::default())
            .unwrap()
    }

    #[test]
    fn agrees_with_the_plain_encoder_for_every_format() {
        for format in marlin_format::FORMATS {
            for (rows, cols) in [(1, 16), (3, 129), (65, 200)] {
                let source = source(rows, cols);
                let plain = Weight::encode(*format, rows, cols, &source.to_f32(), Rounding::default());
                let rounded = round(&source, *format, Rounding::default());
                match (plain, rounded) {
                    (Ok(plain), Ok(rounded)) => {
                        assert_eq!(plain.parts().codes, rounded.weight.parts().codes, "{}", format.name());
                        assert_eq!(plain.parts().scales, rounded.weight.parts().scales);
                        assert_eq!(plain.parts().zeros, rounded.weight.parts().zeros);
                        assert_eq!(plain.parts().tensor_scale, rounded.weight.parts().tensor_scale);
                        let error = squared_error(&source.to_f32(), &plain.to_f32());
                        assert!((rounded.error.relative() - error.relative()).abs() < 1e-9);
                    }
                    (Err(plain), Err(rounded)) => assert_eq!(plain, rounded),
                    (plain, rounded) => panic!("{}: {plain:?} against {rounded:?}", format.name()),
                }
            }
        }
    }

    #[test]
    fn a_value_that_is_not_finite_is_named() {
        let mut values = vec![1.0f32; 64];
        values[40] = f32::NAN;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let f32_format = marlin_format::by_name("f32").unwrap();
        let source = Weight::new(f32_format, 2, 32, Parts::codes_only(bytes.into())).unwrap();
        let error = round(&source, marlin_format::by_name("bf16").unwrap(), Rounding::default()).unwrap_err();
        assert_eq!(error.to_string(), "row 1, column 8: NaN, expected a finite value");
    }
}
