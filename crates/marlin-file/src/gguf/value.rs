//! A value of GGUF's metadata: its types, and reading one from untrusted bytes in bounded memory.

use std::fmt;

use super::cursor::Cursor;
use crate::Error;

/// Deepest nesting of arrays in arrays.
const MAX_ARRAY_DEPTH: usize = 4;
/// Characters of a string that an error shows.
const SHOWN_CHARS: usize = 40;

/// One value. Integers keep their numbers, not their widths.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any of the eight integer types.
    Integer(i128),
    /// f32 or f64.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// UTF-8 text.
    String(String),
    /// Values of one type.
    Array(Array),
}

/// An array of one type, in no more memory than about twice its bytes in the file.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // named by their element types
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    Strings(Strings),
    Arrays(Vec<Array>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

/// Many strings back to back: a vocabulary without an allocation per token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Strings {
    text: String,
    /// Where each string ends in `text`.
    ends: Vec<u32>,
}

impl Strings {
    fn push(&mut self, string: &str) {
        self.text.push_str(string);
        self.ends.push(self.text.len() as u32);
    }

    /// How many strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// String number `at`.
    pub fn get(&self, at: usize) -> Option<&str> {
        let end = *self.ends.get(at)? as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        Some(&self.text[start..end])
    }

    /// All strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|at| self.get(at).unwrap_or_default())
    }
}

impl<S: AsRef<str>> FromIterator<S> for Strings {
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> Self {
        let mut all = Strings::default();
        strings.into_iter().for_each(|string| all.push(string.as_ref()));
        all
    }
}

impl Array {
    /// How many elements.
    pub fn len(&self) -> usize {
        match self {
            Array::U8(values) => values.len(),
            Array::I8(values) => values.len(),
            Array::U16(values) => values.len(),
            Array::I16(values) => values.len(),
            Array::U32(values) => values.len(),
            Array::I32(values) => values.len(),
            Array::F32(values) => values.len(),
            Array::Bool(values) => values.len(),
            Array::Strings(values) => values.len(),
            Array::Arrays(values) => values.len(),
            Array::U64(values) => values.len(),
            Array::I64(values) => values.len(),
            Array::F64(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements of an integer array that all fit an i64.
    pub fn integers(&self) -> Option<Vec<i64>> {
        fn widen<T: Copy + Into<i64>>(values: &[T]) -> Option<Vec<i64>> {
            Some(values.iter().map(|&value| value.into()).collect())
        }
        match self {
            Array::U8(values) => widen(values),
            Array::I8(values) => widen(values),
            Array::U16(values) => widen(values),
            Array::I16(values) => widen(values),
            Array::U32(values) => widen(values),
            Array::I32(values) => widen(values),
            Array::I64(values) => Some(values.clone()),
            Array::U64(values) => values.iter().map(|&value| i64::try_from(value).ok()).collect(),
            _ => None,
        }
    }

    /// The elements of a float array, f64 rounded to f32.
    pub fn floats(&self) -> Option<Vec<f32>> {
        match self {
            Array::F32(values) => Some(values.clone()),
            Array::F64(values) => Some(values.iter().map(|&value| value as f32).collect()),
            _ => None,
        }
    }

    /// The elements of a bool array.
    pub fn bools(&self) -> Option<&[bool]> {
        match self {
            Array::Bool(values) => Some(values),
            _ => None,
        }
    }

    /// The elements of a string array.
    pub fn strings(&self) -> Option<&Strings> {
        match self {
            Array::Strings(values) => Some(values),
            _ => None,
        }
    }

    fn element_name(&self) -> &'static str {
        match self {
            Array::U8(_) => "u8",
            Array::I8(_) => "i8",
            Array::U16(_) => "u16",
            Array::I16(_) => "i16",
            Array::U32(_) => "u32",
            Array::I32(_) => "i32",
            Array::F32(_) => "f32",
            Array::Bool(_) => "bool",
            Array::Strings(_) => "string",
            Array::Arrays(_) => "array",
            Array::U64(_) => "u64",
            Array::I64(_) => "i64",
            Array::F64(_) => "f64",
        }
    }
}

/// Short: type and value, or type and length.
impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Integer(value) => write!(out, "integer {value}"),
            Value::Float(value) => write!(out, "float {value}"),
            Value::Bool(value) => write!(out, "bool {value}"),
            Value::String(value) if value.chars().count() > SHOWN_CHARS => {
                let shown: String = value.chars().take(SHOWN_CHARS).collect();
                write!(out, "string {shown:?}...")
            }
            Value::String(value) => write!(out, "string {value:?}"),
            Value::Array(value) => write!(out, "array of {} {}", value.len(), value.element_name()),
        }
    }
}

/// Numbers of `N` bytes each, read in one go.
fn numbers<T, const N: usize>(
    cursor: &mut Cursor<'_>,
    count: usize,
    number: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, Error> {
    let bytes = cursor.take("array", count * N)?;
    let (chunks, _) = bytes.as_chunks::<N>();
    Ok(chunks.iter().map(|chunk| number(*chunk)).collect())
}

pub(super) fn read_value(cursor: &mut Cursor<'_>, key: &str) -> Result<Value, Error> {
    const WHAT: &str = "value";
    let at = cursor.offset();
    Ok(match cursor.u32("value type")? {
        0 => Value::Integer(u8::from_le_bytes(cursor.array(WHAT)?).into()),
        1 => Value::Integer(i8::from_le_bytes(cursor.array(WHAT)?).into()),
        2 => Value::Integer(u16::from_le_bytes(cursor.array(WHAT)?).into()),
        3 => Value::Integer(i16::from_le_bytes(cursor.array(WHAT)?).into()),
        4 => Value::Integer(u32::from_le_bytes(cursor.array(WHAT)?).into()),
        5 => Value::Integer(i32::from_le_bytes(cursor.array(WHAT)?).into()),
        6 => Value::Float(f32::from_le_bytes(cursor.array(WHAT)?).into()),
        7 => Value::Bool(read_bools(cursor, key, 1)?[0]),
        8 => Value::String(cursor.string("string value")?.to_owned()),
        9 => Value::Array(read_array(cursor, key, 1)?),
        10 => Value::Integer(u64::from_le_bytes(cursor.array(WHAT)?).into()),
        11 => Value::Integer(i64::from_le_bytes(cursor.array(WHAT)?).into()),
        12 => Value::Float(f64::from_le_bytes(cursor.array(WHAT)?)),
        other => return Err(cursor.field(format!("key {key}: value type"), at, other, "0 to 12")),
    })
}

fn read_array(cursor: &mut Cursor<'_>, key: &str, depth: usize) -> Result<Array, Error> {
    let at = cursor.offset();
    if depth > MAX_ARRAY_DEPTH {
        return Err(cursor.field(format!("key {key}: array depth"), at, depth, "4 or less"));
    }
    let kind = cursor.u32("array type")?;
    let min_bytes = match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        8 | 10..=12 => 8,
        9 => 4 + 8,
        other => return Err(cursor.field(format!("key {key}: array type"), at, other, "0 to 12")),
    };
    let count = cursor.u64("array length")?;
    let count = cursor.check_count("array", count, min_bytes)?;
    Ok(match kind {
        0 => Array::U8(numbers(cursor, count, u8::from_le_bytes)?),
        1 => Array::I8(numbers(cursor, count, i8::from_le_bytes)?),
        2 => Array::U16(numbers(cursor, count, u16::from_le_bytes)?),
        3 => Array::I16(numbers(cursor, count, i16::from_le_bytes)?),
        4 => Array::U32(numbers(cursor, count, u32::from_le_bytes)?),
        5 => Array::I32(numbers(cursor, count, i32::from_le_bytes)?),
        6 => Array::F32(numbers(cursor, count, f32::from_le_bytes)?),
        7 => Array::Bool(read_bools(cursor, key, count)?),
        8 => {
            let mut strings = Strings::default();
            for _ in 0..count {
                strings.push(cursor.string("string in an array")?);
            }
            Array::Strings(strings)
        }
        9 => {
            let nested = (0..count).map(|_| read_array(cursor, key, depth + 1));
            Array::Arrays(nested.collect::<Result<_, _>>()?)
        }
        10 => Array::U64(numbers(cursor, count, u64::from_le_bytes)?),
        11 => Array::I64(numbers(cursor, count, i64::from_le_bytes)?),
        _ => Array::F64(numbers(cursor, count, f64::from_le_bytes)?),
    })
}

fn read_bools(cursor: &mut Cursor<'_>, key: &str, count: usize) -> Result<Vec<bool>, Error> {
    let at = cursor.offset();
    let bytes = cursor.take("bool", count)?;
    if let Some(other) = bytes.iter().position(|&byte| byte > 1) {
        let (what, offset) = (format!("key {key}: bool"), at + other as u64);
        return Err(cursor.field(what, offset, bytes[other], "0 or 1"));
    }
    Ok(bytes.iter().map(|&byte| byte == 1).collect())
}
