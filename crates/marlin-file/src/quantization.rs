//! What config.json says of how the weights were quantized, as far as the tensors do not say it.

use serde_json::{Map, Value};

/// Keys of a configuration under which programs describe the quantization: transformers and what it
/// loads; MLX.
const KEYS: [&str; 2] = ["quantization_config", "quantization"];

/// The description, empty where there is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quantization {
    values: Map<String, Value>,
}

impl Quantization {
    /// Finds the description in a configuration.
    pub fn of(config: &Map<String, Value>) -> Self {
        let values = KEYS.iter().find_map(|key| config.get(*key)?.as_object());
        Quantization { values: values.cloned().unwrap_or_default() }
    }

    /// A text, in lower case.
    pub fn text(&self, key: &str) -> Option<String> {
        self.values.get(key)?.as_str().map(str::to_lowercase)
    }

    /// A count under one of `keys` of the module `name`, or of all modules.
    pub fn count(&self, name: &str, keys: &[&str]) -> Option<usize> {
        let module = self.values.get(name).and_then(Value::as_object);
        let count = |values: &Map<String, Value>| {
            keys.iter().find_map(|key| values.get(*key)?.as_u64()?.try_into().ok())
        };
        module.and_then(count).or_else(|| count(&self.values))
    }

    /// The counts under `key` in the weights of each of compressed-tensors' `config_groups`.
    pub fn of_groups<'a>(&'a self, key: &'a str) -> impl Iterator<Item = usize> + 'a {
        let groups = self.values.get("config_groups").and_then(Value::as_object);
        let groups = groups.into_iter().flatten();
        groups.filter_map(move |(_, group)| group.get("weights")?.get(key)?.as_u64()?.try_into().ok())
    }
}
