//! GGUF: an accepted file must be usable throughout, every metadata value by every getter.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use marlin_file::gguf::{Array, Value};
use marlin_file::{Checkpoint, Gguf, Model};

fuzz_target!(|data: &[u8]| {
    let gguf = match Gguf::from_bytes("fuzz", Bytes::copy_from_slice(data)) {
        Ok(gguf) => gguf,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let keys = gguf.metadata();
    for (key, value) in keys.iter() {
        let fits = [
            keys.u64(key).is_ok(),
            keys.f32(key).is_ok(),
            keys.bool(key).is_ok(),
            keys.str(key).is_ok(),
            keys.array(key).is_ok(),
        ];
        let is_negative = matches!(value, Value::Integer(value) if *value < 0);
        assert_eq!(fits.iter().filter(|fits| **fits).count(), usize::from(!is_negative), "{key}: {value}");
        if let Value::Array(array) = value {
            use_array(array);
        }
    }
    marlin_fuzz::use_all(&Checkpoint::from(Model::Gguf(gguf)), data.len());
});

fn use_array(array: &Array) {
    if let Array::Arrays(nested) = array {
        nested.iter().for_each(use_array);
    }
    if let Some(strings) = array.strings() {
        assert_eq!(strings.iter().count(), array.len());
    }
    if let Some(integers) = array.integers() {
        assert_eq!(integers.len(), array.len());
    }
}
