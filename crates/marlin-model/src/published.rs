//! A model's tensors as transformers loads them, where ours differ: `kv_b_proj`, which we keep as its two
//! halves, the first transposed.

use marlin_format::Weight;

use crate::{Error, Source, Tensors};

const WHOLE: &str = ".kv_b_proj.weight";
const KEY_HALF: &str = ".k_b_proj.weight";
const VALUE_HALF: &str = ".v_b_proj.weight";

/// The names of all tensors, sorted.
pub fn names(source: &Source) -> Vec<String> {
    let name = |ours: &str| match ours.strip_suffix(KEY_HALF) {
        Some(prefix) => Some(format!("{prefix}{WHOLE}")),
        None => (!ours.ends_with(VALUE_HALF)).then(|| ours.to_owned()),
    };
    source.names().filter_map(name).collect()
}

/// Rows and columns of a tensor, without reading it.
///
/// # Errors
/// [`Error::Missing`] or [`Error::Shape`].
pub fn shape(source: &Source, name: &str) -> Result<(usize, usize), Error> {
    let Some(prefix) = joined(source, name) else { return source.shape(name) };
    let (key_rows, key) = source.shape(&format!("{prefix}{KEY_HALF}"))?;
    let (value_rows, latent) = source.shape(&format!("{prefix}{VALUE_HALF}"))?;
    Ok((key_rows / latent * key + value_rows, latent))
}

/// The tensor `name`; `kv_b_proj` in f32, joined from its halves.
///
/// # Errors
/// As [`Tensors::weight`], or [`Error::Shape`] when the halves do not fit each other.
pub fn weight(source: &Source, name: &str) -> Result<Weight, Error> {
    let Some(prefix) = joined(source, name) else { return source.weight(name) };
    let heads = source.config().count("num_attention_heads")?;
    let half = format!("{prefix}{KEY_HALF}");
    let (keys, values) = (source.weight(&half)?, source.weight(&format!("{prefix}{VALUE_HALF}"))?);
    let (k, latent) = (keys.cols(), values.cols());
    if keys.rows() != heads * latent || !values.rows().is_multiple_of(heads) {
        let (found, expected) = (vec![keys.rows(), k], vec![heads * latent, k]);
        return Err(Error::Shape { name: half, found, expected });
    }
    let rows = heads * k + values.rows();
    let per_head = k + values.rows() / heads;
    let mut all = vec![0.0; rows * latent];
    let mut row = vec![0.0; k];
    for at in 0..keys.rows() {
        let (head, column) = (at / latent, at % latent);
        keys.decode_row(at, &mut row);
        for (key, value) in row.iter().enumerate() {
            all[(head * per_head + key) * latent + column] = *value;
        }
    }
    for (at, row) in values.to_f32().chunks_exact(latent).enumerate() {
        let (head, value) = (at / (per_head - k), at % (per_head - k));
        all[(head * per_head + k + value) * latent..][..latent].copy_from_slice(row);
    }
    Weight::from_f32(rows, latent, &all).map_err(|source| Error::Weight { name: name.to_owned(), source })
}

/// What precedes `kv_b_proj` in a name, where we keep its halves.
fn joined<'a>(source: &Source, name: &'a str) -> Option<&'a str> {
    let prefix = name.strip_suffix(WHOLE)?;
    source.has(&format!("{prefix}{KEY_HALF}")).then_some(prefix)
}
