//! GGUF's header, keys and values as bytes: what `value.rs` and `gguf.rs` read.

use super::value::{Array, Value};

const VERSION: u32 = 3;

/// The bytes before the tensor infos: magic, version, counts, keys and values.
pub(crate) fn header(metadata: &[(String, Value)], tensors: usize) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend((tensors as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        string(&mut out, key);
        write_value(&mut out, value);
    }
    out
}

/// One tensor info; `shape` outermost first, `offset` from the start of the data.
pub(crate) fn info(out: &mut Vec<u8>, name: &str, shape: &[usize], kind: u32, offset: u64) {
    string(out, name);
    out.extend((shape.len() as u32).to_le_bytes());
    for &dim in shape.iter().rev() {
        out.extend((dim as u64).to_le_bytes());
    }
    out.extend(kind.to_le_bytes());
    out.extend(offset.to_le_bytes());
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// An integer becomes a u32 where it fits one, as llama.cpp asks for by type, else an i64 or u64; a float
/// becomes an f32.
fn write_value(out: &mut Vec<u8>, value: &Value) {
    let mut tagged = |kind: u32, bytes: &[u8]| {
        out.extend(kind.to_le_bytes());
        out.extend(bytes);
    };
    match value {
        Value::Integer(number) => match (u32::try_from(*number), i64::try_from(*number)) {
            (Ok(number), _) => tagged(4, &number.to_le_bytes()),
            (_, Ok(number)) => tagged(11, &number.to_le_bytes()),
            _ => tagged(10, &(*number as u64).to_le_bytes()),
        },
        Value::Float(number) => tagged(6, &(*number as f32).to_le_bytes()),
        Value::Bool(flag) => tagged(7, &[u8::from(*flag)]),
        Value::String(text) => {
            tagged(8, &[]);
            string(out, text);
        }
        Value::Array(array) => {
            tagged(9, &[]);
            write_array(out, array);
        }
    }
}

fn write_array(out: &mut Vec<u8>, array: &Array) {
    fn numbers<T: Copy, const N: usize>(
        out: &mut Vec<u8>,
        kind: u32,
        values: &[T],
        bytes: impl Fn(T) -> [u8; N],
    ) {
        out.extend(kind.to_le_bytes());
        out.extend((values.len() as u64).to_le_bytes());
        values.iter().for_each(|&value| out.extend(bytes(value)));
    }
    match array {
        Array::U8(values) => numbers(out, 0, values, u8::to_le_bytes),
        Array::I8(values) => numbers(out, 1, values, i8::to_le_bytes),
        Array::U16(values) => numbers(out, 2, values, u16::to_le_bytes),
        Array::I16(values) => numbers(out, 3, values, i16::to_le_bytes),
        Array::U32(values) => numbers(out, 4, values, u32::to_le_bytes),
        Array::I32(values) => numbers(out, 5, values, i32::to_le_bytes),
        Array::F32(values) => numbers(out, 6, values, f32::to_le_bytes),
        Array::Bool(values) => numbers(out, 7, values, |flag| [u8::from(flag)]),
        Array::U64(values) => numbers(out, 10, values, u64::to_le_bytes),
        Array::I64(values) => numbers(out, 11, values, i64::to_le_bytes),
        Array::F64(values) => numbers(out, 12, values, f64::to_le_bytes),
        Array::Strings(strings) => {
            out.extend(8u32.to_le_bytes());
            out.extend((strings.len() as u64).to_le_bytes());
            strings.iter().for_each(|text| string(out, text));
        }
        Array::Arrays(arrays) => {
            out.extend(9u32.to_le_bytes());
            out.extend((arrays.len() as u64).to_le_bytes());
            arrays.iter().for_each(|array| write_array(out, array));
        }
    }
}
