//! The ways from a tensor of a checkpoint to the tensor a plan wants. All keep the values.

mod fused;

pub use fused::{Form, Fused};

use marlin_format::Weight;

use crate::Error;

/// How a tensor of the checkpoint becomes one of ours.
#[derive(Clone, Debug, PartialEq)]
pub enum Transform {
    /// As it is.
    Keep,
    /// Part `index` of `count` equal parts of the rows: one expert of a stack.
    Part {
        /// Which part.
        index: usize,
        /// Of how many.
        count: usize,
    },
    /// One expert of a stack as gpt-oss has them.
    Fused(Fused),
    /// Undoes llama.cpp's reordering of query and key rows, which turns half-rotation into
    /// interleaved rotation (llama.cpp, `convert_hf_to_gguf.py`, `LlamaModel.permute`):
    ///
    /// ```text
    ///  Hugging Face, one head   | a0 a1 a2 ... | b0 b1 b2 ... |     pairs (a_i, b_i)
    ///  GGUF                     | a0 b0 | a1 b1 | a2 b2 | ...
    /// ```
    HalfRotation {
        /// Heads of the tensor.
        heads: usize,
    },
    /// Llama.cpp's reordering itself: the inverse of [`Transform::HalfRotation`].
    PairRotation {
        /// Heads of the tensor.
        heads: usize,
    },
    /// Each value less one: gemma's norms, which a GGUF stores with one added.
    LessOne,
    /// Each value with one added: the inverse.
    PlusOne,
    /// The key half of `kv_b_proj`, transposed per head: `[heads * (k + v), latent]` becomes
    /// `[heads * latent, k]`.
    KeyHalf(UpProjection),
    /// The value half of `kv_b_proj`: `[heads * v, latent]`.
    ValueHalf(UpProjection),
}

/// The rows of `kv_b_proj`: in each head `k` key rows, then `v` value rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpProjection {
    /// Heads.
    pub heads: usize,
    /// Key rows of a head.
    pub k: usize,
    /// Value rows of a head.
    pub v: usize,
}

impl Transform {
    /// Rows and columns of the result.
    ///
    /// # Errors
    /// [`Error::Shape`] when the tensor does not have the rows this transform cuts up.
    pub fn shape(&self, name: &str, rows: usize, cols: usize) -> Result<(usize, usize), Error> {
        let divide = |parts: usize| {
            if parts > 0 && rows.is_multiple_of(parts) {
                return Ok(rows / parts);
            }
            let expected = vec![rows.next_multiple_of(parts.max(1)), cols];
            Err(Error::Shape { name: name.to_owned(), found: vec![rows, cols], expected })
        };
        let split = |split: &UpProjection| {
            let expected = split.heads * (split.k + split.v);
            if rows == expected {
                return Ok(());
            }
            let (found, expected) = (vec![rows, cols], vec![expected, cols]);
            Err(Error::Shape { name: name.to_owned(), found, expected })
        };
        Ok(match self {
            Transform::Keep | Transform::LessOne | Transform::PlusOne => (rows, cols),
            Transform::Part { count, .. } => (divide(*count)?, cols),
            Transform::Fused(fused) => fused.shape(name, rows, cols)?,
            // A bias is one row, its values stand for rows.
            Transform::HalfRotation { .. } | Transform::PairRotation { .. } if rows == 1 => (rows, cols),
            Transform::HalfRotation { heads } | Transform::PairRotation { heads } => {
                divide(2 * heads)?;
                (rows, cols)
            }
            Transform::KeyHalf(up) => {
                split(up)?;
                (up.heads * cols, up.k)
            }
            Transform::ValueHalf(up) => {
                split(up)?;
                (up.heads * up.v, cols)
            }
        })
    }

    /// Whether the columns stay what and where they are.
    pub fn keeps_columns(&self) -> bool {
        match self {
            Transform::Keep | Transform::Part { .. } | Transform::ValueHalf(_) => true,
            Transform::Fused(fused) => fused.form == Form::Rows,
            // A bias is one row, whose columns move.
            Transform::HalfRotation { .. } | Transform::PairRotation { .. } => false,
            Transform::LessOne | Transform::PlusOne | Transform::KeyHalf(_) => false,
        }
    }

    /// Applies the transform to the tensor `name`.
    ///
    /// # Errors
    /// As [`Transform::shape`], or [`Error::Weight`] when new values cannot be encoded.
    pub fn apply(&self, name: &str, weight: Weight) -> Result<Weight, Error> {
        let (rows, _) = self.shape(name, weight.rows(), weight.cols())?;
        match self {
            Transform::Keep => Ok(weight),
            Transform::Part { index, .. } => Ok(weight.slice_rows(index * rows..(index + 1) * rows)),
            Transform::Fused(fused) => fused.apply(name, &weight),
            Transform::HalfRotation { heads } => {
                reorder(name, weight, |rows| half_rotation_order(rows, *heads))
            }
            Transform::PairRotation { heads } => reorder(name, weight, |rows| {
                let mut order = vec![0; rows];
                half_rotation_order(rows, *heads)
                    .into_iter()
                    .enumerate()
                    .for_each(|(to, from)| order[from] = to);
                order
            }),
            Transform::LessOne => shift(name, &weight, -1.0),
            Transform::PlusOne => shift(name, &weight, 1.0),
            Transform::KeyHalf(up) => key_half(name, &weight, *up),
            Transform::ValueHalf(up) => {
                let head_rows = |head: usize| (head * (up.k + up.v) + up.k..).take(up.v);
                Ok(weight.permute_rows(&(0..up.heads).flat_map(head_rows).collect::<Vec<_>>()))
            }
        }
    }
}

/// The rows, or the values of a bias, in the order that `order` gives for their number.
fn reorder(name: &str, weight: Weight, order: impl Fn(usize) -> Vec<usize>) -> Result<Weight, Error> {
    if weight.rows() > 1 {
        return Ok(weight.permute_rows(&order(weight.rows())));
    }
    let values = weight.to_f32();
    let moved = order(values.len()).into_iter().map(|from| values[from]).collect();
    dense(name, &weight, 1, moved)
}

fn shift(name: &str, weight: &Weight, by: f32) -> Result<Weight, Error> {
    let values = weight.to_f32().into_iter().map(|value| value + by).collect();
    dense(name, weight, weight.rows(), values)
}

/// For each row in Hugging Face's order, its row in the GGUF.
fn half_rotation_order(rows: usize, heads: usize) -> Vec<usize> {
    let dim = rows / heads;
    let from = |row: usize| {
        let (head, half, pair) = (row / dim, row % dim / (dim / 2), row % (dim / 2));
        head * dim + 2 * pair + half
    };
    (0..rows).map(from).collect()
}

fn key_half(name: &str, weight: &Weight, up: UpProjection) -> Result<Weight, Error> {
    let latent = weight.cols();
    let mut values = vec![0.0; up.heads * latent * up.k];
    let mut row = vec![0.0; latent];
    for head in 0..up.heads {
        for k in 0..up.k {
            weight.decode_row(head * (up.k + up.v) + k, &mut row);
            for (column, value) in row.iter().enumerate() {
                values[(head * latent + column) * up.k + k] = *value;
            }
        }
    }
    dense(name, weight, up.heads * latent, values)
}

/// `values` as a dense weight: in the format of `like` where it is dense and nothing is lost, in f32
/// otherwise.
fn dense(name: &str, like: &Weight, rows: usize, values: Vec<f32>) -> Result<Weight, Error> {
    let cols = values.len() / rows;
    let wrap = |source| Error::Weight { name: name.to_owned(), source };
    if like.format().name() != "f32" && like.layout().group() == 0 {
        let same = Weight::encode(like.format(), rows, cols, &values, Default::default()).map_err(wrap)?;
        if same.to_f32() == values {
            return Ok(same);
        }
    }
    Weight::from_f32(rows, cols, &values).map_err(wrap)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(super) fn matrix(rows: usize, cols: usize) -> Weight {
        let values: Vec<f32> = (0..rows * cols).map(|i| i as f32).collect();
        Weight::encode(marlin_format::by_name("f32").unwrap(), rows, cols, &values, Default::default())
            .unwrap()
    }

    #[test]
    fn half_rotation_undoes_the_gguf_order() {
        // Two heads of 6 rows; llama.cpp stores (half, pair) as (pair, half).
        let (heads, dim) = (2, 6);
        let gguf: Vec<usize> = (0..heads)
            .flat_map(|head| {
                (0..dim / 2).flat_map(move |pair| [0, 1].map(|half| head * dim + half * 3 + pair))
            })
            .collect();
        let stored = matrix(heads * dim, 3).permute_rows(&gguf);
        let restored = Transform::HalfRotation { heads }.apply("q", stored.clone()).unwrap();
        assert_eq!(restored.to_f32(), matrix(heads * dim, 3).to_f32());
        let again = Transform::PairRotation { heads }.apply("q", restored).unwrap();
        assert_eq!(again.to_f32(), stored.to_f32());
    }

    #[test]
    fn kv_b_splits_into_transposed_keys_and_plain_values() {
        let up = UpProjection { heads: 3, k: 2, v: 4 };
        let (latent, source) = (5, matrix(18, 5));
        let values = source.to_f32();
        let k = Transform::KeyHalf(up).apply("kv_b", source.clone()).unwrap();
        let v = Transform::ValueHalf(up).apply("kv_b", source).unwrap();
        assert_eq!((k.rows(), k.cols(), v.rows(), v.cols()), (15, 2, 12, 5));
        let (k, v) = (k.to_f32(), v.to_f32());
        for head in 0..3 {
            for column in 0..latent {
                for row in 0..2 {
                    assert_eq!(
                        k[(head * latent + column) * 2 + row],
                        values[(head * 6 + row) * latent + column]
                    );
                }
                for row in 0..4 {
                    assert_eq!(
                        v[(head * 4 + row) * latent + column],
                        values[(head * 6 + 2 + row) * latent + column]
                    );
                }
            }
        }
    }

    #[test]
    fn a_stack_that_does_not_divide_is_an_error() {
        let error = Transform::Part { index: 0, count: 4 }.apply("experts", matrix(6, 2)).unwrap_err();
        assert_eq!(error.to_string(), "tensor experts: found [6, 2], expected [8, 2]");
    }
}
