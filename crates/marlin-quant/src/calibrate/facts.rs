//! What decides the result of a calibrated run, as facts that an interrupted run and the one that
//! continues it must share.

use marlin_model::Source;
use serde_json::{Map, Value, json};

use super::Calibration;
use crate::{Budget, Recipe};

/// Bytes of each end of a tensor that tell checkpoints apart.
const SAMPLE_BYTES: usize = 4096;

/// The facts of a run, by the names that users see when two runs differ.
pub(super) fn facts(source: &Source, recipe: &Recipe, calibration: &Calibration<'_>) -> Map<String, Value> {
    let formats = calibration.budget.as_ref().map_or_else(|| recipe.describe(), Budget::describe);
    let mut text = Hash::default();
    calibration.tokens.iter().for_each(|token| text.add(&token.to_le_bytes()));
    let facts = [
        ("program version", json!(env!("CARGO_PKG_VERSION"))),
        ("source", json!(fingerprint(source).to_string())),
        ("options", json!(calibration.options)),
        ("formats", json!(formats)),
        ("tokens of text", json!(calibration.tokens.len())),
        ("text", json!(text.to_string())),
    ];
    facts.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

/// The configuration, and name, shape and some bytes of every tensor.
fn fingerprint(source: &Source) -> Hash {
    let mut hash = Hash::default();
    hash.add(Value::Object(source.config().values().clone()).to_string().as_bytes());
    for tensor in source.checkpoint().tensors().iter() {
        hash.add(tensor.name.as_bytes());
        hash.add(format!("{:?}", tensor.shape).as_bytes());
        let sample = tensor.data.len().min(SAMPLE_BYTES);
        hash.add(&tensor.data[..sample]);
        hash.add(&tensor.data[tensor.data.len() - sample..]);
    }
    hash
}

/// FNV-1a of 64 bits (Fowler, Noll, Vo): tells texts and files apart, not forgeries.
struct Hash(u64);

impl Default for Hash {
    fn default() -> Hash {
        Hash(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    /// Adds bytes, and their number, so that two pieces are not one.
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().chain(&(bytes.len() as u64).to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
