//! Tests of marlin-format from outside: laws, errors, the Gaussian table, GGUF goldens.

mod errors;
mod gaussian;
mod gguf;
mod laws;
mod random;
