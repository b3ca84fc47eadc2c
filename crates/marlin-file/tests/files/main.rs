//! Black-box tests of marlin-file: files built by small functions, read back, broken on purpose.

mod build;
mod checkpoint;
mod config;
mod continued;
mod disk_full;
mod gguf;
mod gguf_writer;
mod imports;
mod malformed;
mod metadata;
mod quantized;
mod safetensors;
mod shards;
mod writer;
