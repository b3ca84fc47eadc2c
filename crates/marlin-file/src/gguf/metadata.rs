//! GGUF's keys and values, asked for by type.
//!
//! An integer of any width answers for any other that can hold its value; nothing else converts,
//! except f64 to f32.

use std::collections::BTreeMap;

use super::cursor::Cursor;
use super::value::{Array, Strings, Value, read_value};
use crate::Error;

/// All keys of a file.
#[derive(Clone, Debug)]
pub struct Metadata {
    file: String,
    values: BTreeMap<String, Value>,
}

impl Metadata {
    pub(super) fn parse(cursor: &mut Cursor<'_>, keys: usize) -> Result<Self, Error> {
        let mut values = BTreeMap::new();
        for _ in 0..keys {
            let key = cursor.string("key")?.to_owned();
            let value = read_value(cursor, &key)?;
            if values.insert(key.clone(), value).is_some() {
                return Err(Error::Duplicate { file: cursor.file(), what: "key", name: key });
            }
        }
        Ok(Metadata { file: cursor.file(), values })
    }

    /// The file, for errors.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// All keys and values, sorted by key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// An integer that fits a u32.
    ///
    /// # Errors
    /// [`Error::NoKey`] or [`Error::KeyType`]; so for all typed getters.
    pub fn u32(&self, key: &str) -> Result<u32, Error> {
        self.typed(key, "u32", |value| match value {
            Value::Integer(value) => u32::try_from(*value).ok(),
            _ => None,
        })
    }

    /// An integer that fits a u64.
    ///
    /// # Errors
    /// As [`Metadata::u32`].
    pub fn u64(&self, key: &str) -> Result<u64, Error> {
        self.typed(key, "u64", |value| match value {
            Value::Integer(value) => u64::try_from(*value).ok(),
            _ => None,
        })
    }

    /// A float; f64 is rounded.
    ///
    /// # Errors
    /// As [`Metadata::u32`].
    pub fn f32(&self, key: &str) -> Result<f32, Error> {
        self.typed(key, "f32", |value| match value {
            Value::Float(value) => Some(*value as f32),
            _ => None,
        })
    }

    /// A truth value.
    ///
    /// # Errors
    /// As [`Metadata::u32`].
    pub fn bool(&self, key: &str) -> Result<bool, Error> {
        self.typed(key, "bool", |value| match value {
            Value::Bool(value) => Some(*value),
            _ => None,
        })
    }

    /// A text.
    ///
    /// # Errors
    /// As [`Metadata::u32`].
    pub fn str(&self, key: &str) -> Result<&str, Error> {
        self.typed(key, "string", |value| match value {
            Value::String(value) => Some(value.as_str()),
            _ => None,
        })
    }

    /// An array of any type.
    ///
    /// # Errors
    /// As [`Metadata::u32`].
    pub fn array(&self, key: &str) -> Result<&Array, Error> {
        self.typed(key, "array", |value| match value {
            Value::Array(value) => Some(value),
            _ => None,
        })
    }

    /// An array of strings, such as a vocabulary.
    ///
    /// # Errors
    /// As [`Metadata::u32`].
    pub fn strings(&self, key: &str) -> Result<&Strings, Error> {
        self.typed(key, "array of string", |value| match value {
            Value::Array(value) => value.strings(),
            _ => None,
        })
    }

    /// An array of integers.
    ///
    /// # Errors
    /// As [`Metadata::u32`].
    pub fn integers(&self, key: &str) -> Result<Vec<i64>, Error> {
        self.typed(key, "array of integers", |value| match value {
            Value::Array(value) => value.integers(),
            _ => None,
        })
    }

    /// An array of floats.
    ///
    /// # Errors
    /// As [`Metadata::u32`].
    pub fn floats(&self, key: &str) -> Result<Vec<f32>, Error> {
        self.typed(key, "array of floats", |value| match value {
            Value::Array(value) => value.floats(),
            _ => None,
        })
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<T, Error> {
        let (file, owned) = (|| self.file.clone(), || key.to_owned());
        let value = self.get(key).ok_or_else(|| Error::NoKey { file: file(), key: owned(), expected })?;
        read(value).ok_or_else(|| Error::KeyType {
            file: file(),
            key: owned(),
            found: value.to_string(),
            expected,
        })
    }
}
