//! Tests of the public interface, one file a subject, in one binary.

mod detokenizer;
mod golden;
mod ids;
mod parse;
mod stop;
mod template;
mod templates;
mod to_gguf;
mod tokenizer;
