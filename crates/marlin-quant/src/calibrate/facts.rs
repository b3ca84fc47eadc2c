//! What decides the result of a calibrated run, as facts that an interrupted run and the one that
//! continues it must share; and those of them that a survey and the runs that use it must share.

use marlin_model::Source;
use serde_json::{Map, Value, json};

use super::{Calibration, survey_file::SurveyFile};
use crate::{Budget, Recipe};

/// Bytes of each end of a tensor that tell checkpoints apart.
const SAMPLE_BYTES: usize = 4096;

/// The facts of a survey, by the names that users see when two runs differ: all but those of [`of_run`].
pub(super) fn of_survey(source: &Source, calibration: &Calibration<'_>) -> Map<String, Value> {
    let mut text = Hash::default();
    calibration.tokens.iter().for_each(|token| text.add(&token.to_le_bytes()));
    let facts = [
        ("program version", json!(env!("CARGO_PKG_VERSION"))),
        ("source", json!(fingerprint(source).to_string())),
        ("options", json!(calibration.options)),
        ("tokens of text", json!(calibration.tokens.len())),
        ("text", json!(text.to_string())),
    ];
    let mut facts: Map<_, _> = facts.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
    if let Some(budget) = &calibration.budget {
        let names: Vec<&str> = budget.candidates.iter().map(|format| format.name()).collect();
        facts.insert("candidates".to_owned(), json!(names.join(", ")));
    }
    facts
}

/// The facts of a run: those that a survey shares, `common`, with the formats or the size that they are
/// chosen for, and the survey that losses are taken from.
pub(super) fn of_run(
    common: &Map<String, Value>,
    recipe: &Recipe,
    budget: Option<&Budget>,
    survey: Option<&SurveyFile>,
) -> Map<String, Value> {
    let mut facts = common.clone();
    let (name, value) = match budget {
        Some(budget) => ("bits per weight", json!(budget.bits_per_weight)),
        None => ("formats", json!(recipe.describe())),
    };
    facts.insert(name.to_owned(), value);
    if let Some(survey) = survey {
        let mut hash = Hash::default();
        hash.add(&survey.to_json());
        facts.insert("survey".to_owned(), json!(hash.to_string()));
    }
    facts
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
