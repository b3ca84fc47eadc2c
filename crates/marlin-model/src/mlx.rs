//! MLX's names of what it stacks, as mlx-lm's converters write them (`mlx_lm/models`, `sanitize`).

use crate::{Config, Error, transform::Transform};

/// Stacks of experts: `{layer}.mlp.switch_mlp.{projection}` is `{layer}.mlp.experts.E.{projection}`.
const EXPERTS: &str = ".mlp.switch_mlp.";

/// Stacks of heads: the halves of `kv_b_proj`, split and turned as our plans want them.
const HEADS: &[(&str, &str)] =
    &[(".self_attn.embed_q.", ".self_attn.k_b_proj."), (".self_attn.unembed_out.", ".self_attn.v_b_proj.")];

/// Our names for MLX's tensor, with the way to each; `None` for a name that MLX and we share.
///
/// # Errors
/// [`Error::Config`] when the number of experts is missing.
pub fn tensors(config: &Config, name: &str) -> Result<Option<Vec<(String, Transform)>>, Error> {
    if let Some((layer, projection)) = name.split_once(EXPERTS) {
        let count = config.experts()?;
        let part =
            |index| (format!("{layer}.mlp.experts.{index}.{projection}"), Transform::Part { index, count });
        return Ok(Some((0..count).map(part).collect()));
    }
    let renamed = HEADS.iter().find_map(|(theirs, ours)| {
        name.contains(theirs).then(|| vec![(name.replace(theirs, ours), Transform::Keep)])
    });
    Ok(renamed)
}
