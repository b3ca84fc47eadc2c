//! A model's configuration: typed reads from config.json whose errors name the key.

use serde_json::{Map, Value};

use crate::Error;

/// The largest count a configuration may hold: dimensions, layers and positions are far below it.
const MAX_COUNT: u64 = 1 << 31;

/// A JSON object with the path that leads to it.
#[derive(Clone, Debug)]
pub struct Config {
    path: String,
    values: Map<String, Value>,
}

impl Config {
    /// Parses the bytes of a config.json.
    ///
    /// # Errors
    /// [`Error::Config`] when they are not a JSON object.
    pub fn parse(bytes: &[u8]) -> Result<Config, Error> {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(values)) => Ok(Config { path: String::new(), values }),
            Ok(other) => Err(bad("(whole file)", kind(&other), "an object")),
            Err(error) => Err(bad("(whole file)", error.to_string(), "JSON")),
        }
    }

    /// A configuration made of values, such as a GGUF's metadata under Hugging Face's names.
    pub fn from_values(values: Map<String, Value>) -> Config {
        Config { path: String::new(), values }
    }

    /// All values, to be written out again.
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// The object under `key`, or `None` if it is absent or null.
    ///
    /// # Errors
    /// [`Error::Config`] when something else is there.
    pub fn section(&self, key: &str) -> Result<Option<Config>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(values)) => {
                Ok(Some(Config { path: format!("{}{key}.", self.path), values: values.clone() }))
            }
            Some(other) => Err(self.unexpected(key, Some(other), "an object")),
        }
    }

    /// The objects in the list under `key`; none if it is absent or null.
    ///
    /// # Errors
    /// [`Error::Config`] when something else is there.
    pub fn sections(&self, key: &str) -> Result<Vec<Config>, Error> {
        let list = self.list(key, "a list of objects", Value::as_object)?.unwrap_or_default();
        let section = |(at, values): (usize, &Map<String, Value>)| Config {
            path: format!("{}{key}[{at}].", self.path),
            values: values.clone(),
        };
        Ok(list.into_iter().enumerate().map(section).collect())
    }

    /// The value under `key` unless absent or null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }

    /// A count of at least 1.
    ///
    /// # Errors
    /// [`Error::Config`] when absent, no integer, or out of range.
    pub fn count(&self, key: &str) -> Result<usize, Error> {
        let value = self.get(key);
        match value.and_then(Value::as_u64) {
            Some(count) if (1..=MAX_COUNT).contains(&count) => Ok(count as usize),
            _ => Err(self.unexpected(key, value, "an integer from 1 to 2^31")),
        }
    }

    /// A count that may be absent or null.
    ///
    /// # Errors
    /// [`Error::Config`] when present and no count.
    pub fn count_opt(&self, key: &str) -> Result<Option<usize>, Error> {
        self.get(key).map(|_| self.count(key)).transpose()
    }

    /// The number of routed experts, under any of its names.
    ///
    /// # Errors
    /// [`Error::Config`] when all are absent, or no count.
    pub fn experts(&self) -> Result<usize, Error> {
        for key in ["n_routed_experts", "num_experts"] {
            if let Some(count) = self.count_opt(key)? {
                return Ok(count);
            }
        }
        self.count("num_local_experts")
    }

    /// A count that may also be zero, or absent for `default`.
    ///
    /// # Errors
    /// [`Error::Config`] when present and no such integer.
    pub fn size_or(&self, key: &str, default: usize) -> Result<usize, Error> {
        match self.get(key) {
            Some(value) if value.as_u64() == Some(0) => Ok(0),
            Some(_) => self.count(key),
            None => Ok(default),
        }
    }

    /// A finite number.
    ///
    /// # Errors
    /// [`Error::Config`] when absent or no number.
    pub fn number(&self, key: &str) -> Result<f64, Error> {
        let value = self.get(key);
        match value.and_then(Value::as_f64) {
            Some(number) if number.is_finite() => Ok(number),
            _ => Err(self.unexpected(key, value, "a number")),
        }
    }

    /// A finite number, or `default` when absent.
    ///
    /// # Errors
    /// [`Error::Config`] when present and no number.
    pub fn number_or(&self, key: &str, default: f64) -> Result<f64, Error> {
        self.get(key).map_or(Ok(default), |_| self.number(key))
    }

    /// A boolean, or `default` when absent.
    ///
    /// # Errors
    /// [`Error::Config`] when present and no boolean.
    pub fn flag_or(&self, key: &str, default: bool) -> Result<bool, Error> {
        match self.get(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            other => Err(self.unexpected(key, other, "true or false")),
        }
    }

    /// A string, or `default` when absent.
    ///
    /// # Errors
    /// [`Error::Config`] when present and no string.
    pub fn text_or<'a>(&'a self, key: &str, default: &'a str) -> Result<&'a str, Error> {
        match self.get(key) {
            None => Ok(default),
            Some(Value::String(text)) => Ok(text),
            other => Err(self.unexpected(key, other, "a string")),
        }
    }

    /// A list of strings, or `None` when absent.
    ///
    /// # Errors
    /// [`Error::Config`] when present and something else.
    pub fn texts(&self, key: &str) -> Result<Option<Vec<&str>>, Error> {
        self.list(key, "a list of strings", Value::as_str)
    }

    /// A list of indices, or an empty one when absent.
    ///
    /// # Errors
    /// [`Error::Config`] when present and something else.
    pub fn indices(&self, key: &str) -> Result<Vec<usize>, Error> {
        let list =
            self.list(key, "a list of integers", |value| value.as_u64().map(|index| index as usize))?;
        Ok(list.unwrap_or_default())
    }

    fn list<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        item: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let items = value.as_array().and_then(|items| items.iter().map(item).collect::<Option<Vec<_>>>());
        items.map(Some).ok_or_else(|| self.unexpected(key, Some(value), expected))
    }

    /// Token ids that end a sequence: `eos_token_id` as a number or a list.
    ///
    /// # Errors
    /// [`Error::Config`] when it is neither.
    pub fn token_ids(&self, key: &str) -> Result<Vec<u32>, Error> {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids = match self.get(key) {
            None => Some(Vec::new()),
            Some(Value::Array(items)) => items.iter().map(id).collect(),
            Some(value) => id(value).map(|id| vec![id]),
        };
        ids.ok_or_else(|| self.unexpected(key, self.get(key), "a token id or a list of them"))
    }

    /// Fails unless the value under `key` is absent or one of `known`.
    ///
    /// # Errors
    /// [`Error::Config`] naming what is known.
    pub fn only(&self, key: &str, known: &[&str]) -> Result<(), Error> {
        match self.get(key) {
            None => Ok(()),
            Some(Value::String(text)) if known.contains(&text.as_str()) => Ok(()),
            other => Err(self.unexpected(key, other, &known.join(" or "))),
        }
    }

    /// Fails if a feature that is not built is switched on: `key` must be absent, null or false.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key.
    pub fn without(&self, key: &str) -> Result<(), Error> {
        match self.get(key) {
            None | Some(Value::Bool(false)) => Ok(()),
            other => Err(self.unexpected(key, other, "null (this feature is not supported)")),
        }
    }

    /// An error about `key`.
    pub fn unexpected(&self, key: &str, found: Option<&Value>, expected: &str) -> Error {
        let found = match found {
            None => "nothing".to_owned(),
            Some(Value::Object(_)) => "an object".to_owned(),
            Some(Value::Array(items)) => format!("a list of {}", items.len()),
            Some(value) => value.to_string().chars().take(60).collect(),
        };
        bad(&format!("{}{key}", self.path), found, expected)
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn bad(key: &str, found: impl Into<String>, expected: &str) -> Error {
    Error::Config { key: key.to_owned(), found: found.into(), expected: expected.to_owned() }
}
