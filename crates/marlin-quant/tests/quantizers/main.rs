//! Quantizers against slow obvious references, on odd sizes, for any number of threads.

mod allocate;
mod gptq;
mod gram;
mod random;
