//! Rotations that are played. What `down_proj` multiplies is a product of two vectors, and no rotation passes
//! through that: blocks of its columns are rotated when the model is played, and the inverse is folded into
//! the weights (MR-GPTQ, arXiv 2509.23202).
//!
//! ```text
//!  down (act(gate x) * up x)  =  (down H) (H (act(gate x) * up x))      H its own inverse
//! ```
//!
//! config.json says so as compressed-tensors does (`TransformConfig` of its `transform` package): what
//! happens to weights has happened to those that are stored, what happens to an `input` is left to the
//! player.
//!
//! ```text
//!  "quantization_config": { "transform_config": { "config_groups": { "R4": {
//!      "type": "hadamard", "head_dim": 32,
//!      "apply": [ { "targets": ["re:.*down_proj$"], "location": "input" },
//!                 { "targets": ["re:.*down_proj$"], "location": "weight_input", "inverse": true } ] } } } }
//! ```

use marlin_kernel::hadamard::{MAX_BLOCK, is_block};
use serde_json::{Map, Value, json};

use crate::{Config, Error};

const QUANTIZATION: &str = "quantization_config";
const TRANSFORMS: &str = "transform_config";
const GROUPS: &str = "config_groups";
/// The group that we write, by SpinQuant's name for this rotation (arXiv 2405.16406).
const GROUP: &str = "R4";
/// The modules whose input is rotated.
const TARGET: &str = "re:.*down_proj$";
/// Their weights end so.
pub(crate) const WEIGHT: &str = ".down_proj.weight";

/// Columns of the blocks in which the configuration has the inputs of `down_proj` rotated.
///
/// # Errors
/// [`Error::Config`] for any other transform that is left to the player.
pub(crate) fn block(config: &Config) -> Result<Option<usize>, Error> {
    let mut found = None;
    for (name, scheme) in schemes(config)? {
        for apply in scheme.sections("apply")? {
            match apply.text_or("location", "")? {
                "weight_input" | "weight_output" => continue,
                "input" => {}
                _ => {
                    let expected = "input, weight_input or weight_output (no other is played)";
                    return Err(apply.unexpected("location", apply.get("location"), expected));
                }
            }
            if found.is_some() {
                return Err(scheme.unexpected("apply", scheme.get("apply"), "one transform of an input"));
            }
            targets_down_proj(&apply)?;
            found = Some(columns(&scheme, &name)?);
        }
    }
    Ok(found)
}

/// Fails unless the transform is of the inputs of `down_proj`, all of them.
fn targets_down_proj(apply: &Config) -> Result<(), Error> {
    let is = |key: &str, known: &str| match apply.get(key) {
        Some(Value::Array(items)) => items.iter().all(|item| item == known),
        Some(value) => value == known,
        None => false,
    };
    if !is("targets", TARGET) {
        let expected = format!("[\"{TARGET}\"] (no other input is rotated)");
        return Err(apply.unexpected("targets", apply.get("targets"), &expected));
    }
    match apply.get("ignore") {
        Some(ignore) if !is("ignore", "lm_head") => Err(apply.unexpected("ignore", Some(ignore), "none")),
        _ => Ok(()),
    }
}

/// Columns of the blocks of a scheme that we can play.
fn columns(scheme: &Config, name: &str) -> Result<usize, Error> {
    if scheme.text_or("type", "")? != "hadamard" {
        return Err(scheme.unexpected("type", scheme.get("type"), "hadamard (no other is played)"));
    }
    scheme.without("randomize")?;
    match scheme.count_opt("head_dim")? {
        Some(columns) if is_block(columns) => Ok(columns),
        _ => {
            let expected = format!("columns of a block of {name}: a power of two from 2 to {MAX_BLOCK}");
            Err(scheme.unexpected("head_dim", scheme.get("head_dim"), &expected))
        }
    }
}

/// The transforms of a configuration, by name.
fn schemes(config: &Config) -> Result<Vec<(String, Config)>, Error> {
    let transforms = match config.section(QUANTIZATION)? {
        Some(quantization) => quantization.section(TRANSFORMS)?,
        None => None,
    };
    let Some(groups) = transforms.map(|transforms| transforms.section(GROUPS)).transpose()?.flatten() else {
        return Ok(Vec::new());
    };
    let of = |name: &String| Ok((name.clone(), groups.section(name)?));
    let schemes = groups.values().keys().map(of).collect::<Result<Vec<_>, Error>>()?;
    Ok(schemes.into_iter().filter_map(|(name, scheme)| Some((name, scheme?))).collect())
}

/// What the names of tensors end in that hold a transform's matrix, which its type already says.
///
/// # Errors
/// [`Error::Config`] as [`block`].
pub(crate) fn matrices(config: &Config) -> Result<Vec<String>, Error> {
    let mut suffixes = Vec::new();
    for (name, scheme) in schemes(config)? {
        for apply in scheme.sections("apply")? {
            suffixes.push(format!(".{name}_{}.weight", apply.text_or("location", "")?));
        }
    }
    Ok(suffixes)
}

/// The configuration with the inputs of `down_proj` rotated in the largest blocks of at most `most` columns
/// that divide all of `widths`; and the columns of a block.
///
/// # Errors
/// [`Error::Config`] for another `most`, widths without such a block, or a rotation that is there already.
pub(crate) fn rotated(config: &Config, most: usize, widths: &[usize]) -> Result<(usize, Config), Error> {
    let error = |found: String, expected: String| Error::Config { key: "rotation".into(), found, expected };
    if !is_block(most) {
        return Err(error(most.to_string(), format!("a power of two from 2 to {MAX_BLOCK}")));
    }
    if let Some(block) = block(config)? {
        let found = format!("inputs of down_proj rotated in blocks of {block}");
        return Err(error(found, "a model without".into()));
    }
    let block = widths.iter().map(|width| 1 << width.trailing_zeros()).fold(most, usize::min);
    if !is_block(block) || widths.is_empty() {
        let odd = widths.iter().find(|width| !width.is_multiple_of(2)).copied().unwrap_or_default();
        return Err(error(format!("{odd} columns of down_proj"), "a multiple of 2".into()));
    }
    let mut values = config.values().clone();
    let mut inner = &mut values;
    for key in [QUANTIZATION, TRANSFORMS, GROUPS] {
        let value = inner.entry(key).or_insert(Value::Null);
        if value.is_null() {
            *value = Value::Object(Map::new());
        }
        let Value::Object(next) = value else { return Err(config.unexpected(key, Some(value), "an object")) };
        inner = next;
    }
    let scheme = json!({
        "type": "hadamard", "head_dim": block, "randomize": false,
        "apply": [
            { "targets": [TARGET], "location": "input", "inverse": false, "ignore": [] },
            { "targets": [TARGET], "location": "weight_input", "inverse": true, "ignore": [] },
        ],
    });
    inner.insert(GROUP.into(), scheme);
    Ok((block, Config::from_values(values)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration with one transform of inputs, changed.
    fn changed(change: impl FnOnce(&mut Value)) -> Result<Option<usize>, String> {
        let mut scheme = json!({
            "type": "hadamard", "head_dim": 32,
            "apply": [{ "targets": [TARGET], "location": "input" }],
        });
        change(&mut scheme);
        let config = json!({ QUANTIZATION: { TRANSFORMS: { GROUPS: { "R4": scheme } } } });
        let config = Config::parse(config.to_string().as_bytes()).unwrap();
        block(&config).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_is_read() {
        let config = Config::parse(br#"{"quantization_config": null, "model_type": "llama"}"#).unwrap();
        assert_eq!(block(&config).unwrap(), None);
        let (columns, turned) = rotated(&config, 128, &[512, 96]).unwrap();
        assert_eq!((columns, block(&turned).unwrap()), (32, Some(32)));
        assert_eq!(matrices(&turned).unwrap(), [".R4_input.weight", ".R4_weight_input.weight"]);
        let again = rotated(&turned, 16, &[512]).unwrap_err().to_string();
        let expected =
            "config rotation: found inputs of down_proj rotated in blocks of 32, expected a model without";
        assert_eq!(again, expected);
        for (most, widths, expected) in [
            (48, &[96][..], "config rotation: found 48, expected a power of two from 2 to 256"),
            (16, &[96, 33], "config rotation: found 33 columns of down_proj, expected a multiple of 2"),
        ] {
            assert_eq!(rotated(&config, most, widths).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn transforms_of_weights_are_done_and_those_of_inputs_are_played() {
        assert_eq!(changed(|_| ()), Ok(Some(32)));
        assert_eq!(changed(|scheme| scheme["apply"][0]["targets"] = TARGET.into()), Ok(Some(32)));
        assert_eq!(changed(|scheme| scheme["apply"][0]["location"] = "weight_input".into()), Ok(None));
        assert_eq!(changed(|scheme| *scheme = json!({ "type": "matrix", "apply": [] })), Ok(None));
    }

    #[test]
    fn other_transforms_are_refused_by_their_key() {
        let refused = |change: fn(&mut Value), key: &str, found: &str| {
            let text = changed(change).unwrap_err();
            let start = format!(
                "config quantization_config.transform_config.config_groups.R4.{key}: found {found}, "
            );
            assert!(text.starts_with(&start), "{text}");
        };
        refused(|scheme| scheme["type"] = "random-hadamard".into(), "type", "\"random-hadamard\"");
        refused(|scheme| scheme["randomize"] = true.into(), "randomize", "true");
        refused(|scheme| scheme["head_dim"] = Value::Null, "head_dim", "nothing");
        refused(|scheme| scheme["head_dim"] = 48.into(), "head_dim", "48");
        refused(|scheme| scheme["head_dim"] = 512.into(), "head_dim", "512");
        refused(|scheme| scheme["apply"][0]["location"] = "q_attn".into(), "apply[0].location", "\"q_attn\"");
        refused(
            |scheme| scheme["apply"][0]["targets"] = json!(["Linear"]),
            "apply[0].targets",
            "a list of 1",
        );
        refused(
            |scheme| scheme["apply"][0]["ignore"] = json!(["re:.*3.*"]),
            "apply[0].ignore",
            "a list of 1",
        );
        let twice = |scheme: &mut Value| {
            let first = scheme["apply"][0].clone();
            scheme["apply"] = json!([first.clone(), first]);
        };
        refused(twice, "apply", "a list of 2");
    }
}
