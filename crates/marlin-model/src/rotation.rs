//! Rotations folded into a model's weights: outliers spread over many columns, the logits stay.
//!
//! A Walsh-Hadamard transform `H` of blocks of columns is orthogonal and its own inverse, so it can be
//! multiplied into the matrices on both sides of a vector that only linear maps and RMS norms see (QuaRot,
//! arXiv 2404.00456). A norm without weights commutes with it; its weight `g` moves into the readers first.
//!
//! ```text
//!  residual   x = embed + sum of o_proj, down_proj     writers  W -> H W     (rows)
//!             norm(x) g -> q, k, v, gate, up, router   readers  W -> W g H   (columns)
//!  latents    q_a -> norm g -> q_b                     kv_a -> norm g -> k_b (its rows), v_b
//!  values     v, v_b -> mixed by attention -> o_proj   in each head
//! ```
//!
//! What is left alone: queries and keys (rotary embeddings do not commute), and the inputs of `down_proj`
//! (see [`online`](crate::online)). The result is an ordinary model, whose norms have weight 1 and whose head
//! is not tied to the embedding.

use marlin_format::Weight;
use marlin_kernel::hadamard::{MAX_BLOCK, is_block, transform};
use serde_json::Value;

use crate::{Config, Error, blocks};

/// The `model_type`s in which nothing but a norm stands between the residual stream and its readers and
/// writers.
const ROTATING: [&str; 6] = ["glm4_moe_lite", "llama", "mistral", "qwen2", "qwen3", "qwen3_moe"];

/// The key of a configuration that says whether the embedding is the head too.
const TIED: &str = "tie_word_embeddings";

/// The key that says so of a rotated model: columns of a block at most. Nothing needs to read it.
const FOLDED: &str = "folded_rotation";

/// The rotation of a model.
#[derive(Clone, Debug)]
pub(crate) struct Rotation {
    /// Columns of a block at most, a power of two.
    most: usize,
    /// Columns of a head's values.
    value: usize,
}

/// What happens along one side of a matrix, in each run of `period` rows or columns.
#[derive(Debug)]
struct Side {
    /// The norm whose weight is multiplied in before.
    norm: Option<String>,
    /// Rows or columns of a run; `None` for all there are.
    period: Option<usize>,
    /// Those of a run that are rotated; `None` for all of it.
    rotated: Option<usize>,
}

/// What happens to a tensor.
#[derive(Debug, Default)]
struct Fold {
    rows: Option<Side>,
    columns: Option<Side>,
    /// A norm, whose weight has moved.
    ones: bool,
}

impl Side {
    const ALL: Side = Side { norm: None, period: None, rotated: None };

    fn after(norm: String) -> Side {
        Side { norm: Some(norm), ..Side::ALL }
    }

    fn runs_of(period: usize) -> Side {
        Side { period: Some(period), ..Side::ALL }
    }
}

impl Rotation {
    /// For blocks of at most `most` columns, and the configuration that goes with it.
    pub fn new(config: &Config, most: usize) -> Result<(Rotation, Config), Error> {
        let model_type = config.text_or("model_type", "")?;
        if !ROTATING.contains(&model_type) {
            let expected = format!("one that can be rotated: {}", ROTATING.join(", "));
            return Err(config.unexpected("model_type", config.get("model_type"), &expected));
        }
        if !is_block(most) {
            let expected = format!("a power of two from 2 to {MAX_BLOCK}");
            return Err(Error::Config { key: "rotation".into(), found: most.to_string(), expected });
        }
        let value = match config.count_opt("v_head_dim")? {
            Some(value) => value,
            None => blocks::heads(config)?.2,
        };
        let mut values = config.values().clone();
        values.insert(TIED.into(), Value::Bool(false));
        values.insert(FOLDED.into(), most.into());
        Ok((Rotation { most, value }, Config::from_values(values)))
    }

    /// The weight `name` rotated; `read` gives norms by name as they were.
    pub fn apply(
        &self,
        name: &str,
        weight: Weight,
        read: impl Fn(&str) -> Result<Weight, Error>,
    ) -> Result<Weight, Error> {
        let fold = self.fold(name, &read)?;
        if fold.ones {
            let wrap = |source| Error::Weight { name: name.to_owned(), source };
            return Weight::from_f32(1, weight.cols(), &vec![1.0; weight.cols()]).map_err(wrap);
        }
        if fold.rows.is_none() && fold.columns.is_none() {
            return Ok(weight);
        }
        let mut values = weight.to_f32();
        // A bias is one row in a file; its values stand for rows.
        let cols = if name.ends_with(".bias") { 1 } else { weight.cols() };
        if let Some(side) = fold.columns {
            let norm = side.norm.as_deref().map(&read).transpose()?;
            values.chunks_exact_mut(cols).for_each(|row| self.along(&side, norm.as_ref(), 1, row));
        }
        if let Some(side) = fold.rows {
            let norm = side.norm.as_deref().map(&read).transpose()?;
            self.along(&side, norm.as_ref(), cols, &mut values);
        }
        let wrap = |source| Error::Weight { name: name.to_owned(), source };
        Weight::from_f32(weight.rows(), weight.cols(), &values).map_err(wrap)
    }

    /// Scales and rotates `values`: runs of entries, each entry `width` values.
    fn along(&self, side: &Side, norm: Option<&Weight>, width: usize, values: &mut [f32]) {
        let norm = norm.map(Weight::to_f32);
        let period = side.period.or(norm.as_ref().map(Vec::len)).unwrap_or(values.len() / width);
        let rotated = side.rotated.unwrap_or(period);
        let block = self.block(rotated);
        for run in values.chunks_exact_mut(period * width) {
            let run = &mut run[..rotated * width];
            for (entry, scale) in run.chunks_exact_mut(width).zip(norm.iter().flatten()) {
                entry.iter_mut().for_each(|value| *value *= scale);
            }
            transform(run, block, width);
        }
    }

    /// Columns of the blocks of a vector: the largest power of two that divides it.
    fn block(&self, width: usize) -> usize {
        self.most.min(1 << width.trailing_zeros())
    }

    /// What the tensor `name` reads and writes.
    fn fold(&self, name: &str, read: &impl Fn(&str) -> Result<Weight, Error>) -> Result<Fold, Error> {
        let reads = |norm: String| Some(Side::after(format!("{norm}.weight")));
        let fold = |columns, rows| Ok(Fold { rows, columns, ones: false });
        let (stem, is_bias) = match name.strip_suffix(".bias") {
            Some(stem) => (stem, true),
            None => (name.strip_suffix(".weight").unwrap_or(name), false),
        };
        match stem {
            "model.embed_tokens" => return fold(Some(Side::ALL), None),
            "lm_head" => return fold(reads("model.norm".into()), None),
            "model.norm" => return Ok(Fold { ones: true, ..Fold::default() }),
            _ => {}
        }
        // model.layers.N | self_attn.q_proj
        let Some((at, _)) = stem.match_indices('.').nth(2) else { return Ok(Fold::default()) };
        let (layer, part) = (&stem[..at], &stem[at + 1..]);
        let input = || reads(format!("{layer}.input_layernorm"));
        let latent = || format!("{layer}.self_attn.kv_a_layernorm");
        let values = || Some(Side::runs_of(self.value));
        let Fold { rows, columns, ones } = match part {
            "self_attn.q_proj" | "self_attn.k_proj" => fold(input(), None)?,
            "self_attn.v_proj" => fold(input(), values())?,
            "self_attn.q_a_proj" => fold(input(), Some(Side::ALL))?,
            "self_attn.kv_a_proj_with_mqa" => {
                let rotated = Some(read(&format!("{}.weight", latent()))?.cols());
                fold(input(), Some(Side { rotated, ..Side::ALL }))?
            }
            "self_attn.q_b_proj" => fold(reads(format!("{layer}.self_attn.q_a_layernorm")), None)?,
            "self_attn.k_b_proj" => fold(None, reads(latent()))?,
            "self_attn.v_b_proj" => fold(reads(latent()), values())?,
            "self_attn.o_proj" => fold(values(), Some(Side::ALL))?,
            "input_layernorm" | "post_attention_layernorm" => Fold { ones: true, ..Fold::default() },
            "self_attn.q_a_layernorm" | "self_attn.kv_a_layernorm" => Fold { ones: true, ..Fold::default() },
            _ if part.ends_with(".down_proj") => fold(None, Some(Side::ALL))?,
            _ if part == "mlp.gate" || part.ends_with(".gate_proj") || part.ends_with(".up_proj") => {
                fold(reads(format!("{layer}.post_attention_layernorm")), None)?
            }
            _ => Fold::default(),
        };
        // A bias has no columns.
        Ok(Fold { rows, columns: columns.filter(|_| !is_bias), ones })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn biases_of_writers_turn_and_those_of_others_stay() {
        let config = br#"{"model_type": "qwen2", "num_attention_heads": 2, "hidden_size": 8}"#;
        let (rotation, config) = Rotation::new(&Config::parse(config).unwrap(), 2).unwrap();
        assert!(!config.flag_or(TIED, true).unwrap());
        assert_eq!(config.count(FOLDED).unwrap(), 2);
        let bias = Weight::from_f32(1, 4, &[1.0, 0.0, 0.0, 2.0]).unwrap();
        let norm = |_: &str| Ok(Weight::from_f32(1, 4, &[9.0; 4]).unwrap());
        let turned = |name: &str| rotation.apply(name, bias.clone(), norm).unwrap().to_f32();
        let half = 0.5f32.sqrt();
        let expected = [half, half, 2.0 * half, -2.0 * half];
        for writer in ["self_attn.o_proj", "mlp.down_proj", "self_attn.v_proj"] {
            let found = turned(&format!("model.layers.3.{writer}.bias"));
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{writer}: {found:?}");
        }
        assert_eq!(turned("model.layers.3.self_attn.q_proj.bias"), bias.to_f32());
        assert_eq!(turned("model.layers.3.mlp.up_proj.bias"), bias.to_f32());
        assert_eq!(turned("model.layers.3.input_layernorm.weight"), [1.0; 4]);
    }

    #[test]
    fn what_cannot_be_rotated_is_refused() {
        let text = |json: &str, most| {
            Rotation::new(&Config::parse(json.as_bytes()).unwrap(), most).unwrap_err().to_string()
        };
        assert!(text(r#"{"model_type": "gemma3"}"#, 128).starts_with(
            "config model_type: found \"gemma3\", expected one that can be rotated: glm4_moe_lite, llama"
        ));
        let llama = r#"{"model_type": "llama", "num_attention_heads": 2, "hidden_size": 8}"#;
        for most in [0, 1, 3, 512] {
            let expected = format!("config rotation: found {most}, expected a power of two from 2 to 256");
            assert_eq!(text(llama, most), expected);
        }
    }
}
