//! Files of models: untrusted bytes to checked tensor views, and the writer of quantized models.
//!
//! [`Checkpoint::open`] takes a directory, a `.safetensors` or a `.gguf`; everything behind it is
//! mapped, not read. Nothing in a file can make this crate panic, hang or allocate without bound:
//! each length, count and offset is held against the bytes there are before it is used, and the
//! limits are named constants. [`ModelWriter`] writes a directory that appears whole or not at all.
//!
//! # Quantized weights in safetensors
//!
//! A weight `X` is one tensor if it is dense, else several, with the names and layouts of
//! compressed-tensors (its nvfp4, mxfp4 and pack-quantized schemes):
//!
//! ```text
//!  X.weight               dense, or 8-bit floats        [rows, cols]
//!  X.weight_packed        u8  (E2M1, sparse, blocks)    [rows, bytes of a row]
//!                         i32 (integer codes)           [rows, words of a row]
//!  X.weight_scale         f16, f32, E4M3, or E8M0 as u8 [rows, groups]
//!  X.weight_zero_point    i32, packed down the rows     [ceil(rows * bits / 32), groups]
//!  X.weight_codebook      f32, for lookup codes         [16, 8 or 4]
//!  X.weight_global_scale  f32, a divisor                [1]
//!  X.weight_shape         i64, rows and cols            [2]
//! ```
//!
//! Codes are as [`marlin_format`] draws them: element 0 in the lowest bits, each row padded to a
//! multiple of 4 bytes but for 8-bit floats. `weight_shape` is left out where compressed-tensors has
//! none: 8-bit floats, and E2M1 codes in whole groups. In memory ([`marlin_format::Parts`]) two things
//! differ: zero points take a byte each, row by row, and the tensor scale is the multiplier, the reciprocal
//! of what is stored.
//!
//! The format of each quantized weight stands in its shard's `__metadata__`, key `marlin.formats`, a
//! JSON object of weight name to format name. config.json repeats it as `quantization_config`: with
//! `quant_method` `compressed-tensors` if that scheme can express every weight, else `metal-marlin`,
//! whose `config_groups` have the format's name as `format` and the same `targets` and `ignore`.

#![deny(unsafe_code)]

mod checkpoint;
mod dtype;
mod error;
pub mod gguf;
mod quantization;
pub mod safetensors;
mod schemes;
mod source;
mod stored;
mod tensors;
mod weights;
mod write;

pub use checkpoint::{Checkpoint, MAX_SIDE_FILE_BYTES, MAX_TOKENIZER_BYTES, Model};
pub use dtype::Dtype;
pub use error::Error;
pub use gguf::Gguf;
pub use safetensors::Safetensors;
pub use schemes::Ordered;
pub use tensors::{TensorView, Tensors};
pub use weights::check_finite;
pub use write::{
    Content, GgufTensor, GgufWriter, ModelWriter, Options, Partial, Planned, Written, differing_fact,
    is_compressed_tensors,
};
