//! Safetensors headers against the library that defined the format: whatever we accept it accepts,
//! tensor for tensor, and whatever we refuse it refuses, except for what we refuse on purpose.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use marlin_file::{Checkpoint, Error, Model, Safetensors};
use safetensors::SafeTensors;

fuzz_target!(|data: &[u8]| {
    let ours = Safetensors::from_bytes("fuzz", Bytes::copy_from_slice(data));
    match (ours, SafeTensors::deserialize(data)) {
        (Ok(ours), theirs) => {
            let theirs = theirs.expect("the library refuses what we accept");
            assert_eq!(ours.tensors().len(), theirs.len());
            for tensor in ours.tensors() {
                let expected = theirs.tensor(&tensor.name).expect("the library lacks a tensor");
                assert_eq!(tensor.dtype.name(), expected.dtype().to_string());
                assert_eq!(tensor.shape, expected.shape());
                assert_eq!(tensor.data, expected.data());
            }
            marlin_fuzz::use_all(&Checkpoint::from(Model::Safetensors(ours)), data.len());
        }
        // Fewer dtypes, no duplicates, one spelling of a dtype: stricter on purpose.
        (Err(Error::UnknownDtype { .. } | Error::Duplicate { .. } | Error::Json { .. }), _) => {}
        (Err(error), theirs) => assert!(theirs.is_err(), "the library accepts this: {error}"),
    }
});
