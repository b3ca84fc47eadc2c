//! Tests of marlin-format from outside: laws, codes, errors, the Gaussian table, GGUF goldens.

mod codes;
mod errors;
mod gaussian;
mod gguf;
mod laws;
mod lookup;
mod random;
mod sparse;
