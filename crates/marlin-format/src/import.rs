//! Other programs' layouts rearranged into ours: bits move, every value stays as it is.
//!
//! | from | by |
//! |---|---|
//! | GGUF blocks of 32 | [`separate`], and [`interleave`] back |
//! | GGUF NVFP4 | [`nvfp4_to_rows`] |
//! | GPTQ: words packed down the columns | [`transpose_words`] |
//! | AWQ: words packed along the outputs, interleaved | [`awq_to_rows`] |
//! | any order or width of codes in a row | [`reorder`], [`widen`], [`squeeze`] |
//! | integers with scales and zero points or offsets | [`Integers`] |

mod awq;
mod blocks;
mod integers;
mod stream;
mod words;

pub use awq::{awq_from_rows, awq_to_rows};
pub use blocks::{interleave, nvfp4_to_rows, separate};
pub use integers::{Integers, Offsets};
pub use stream::{read_stream, reorder, row_bytes, squeeze, widen, write_stream};
pub use words::transpose_words;
