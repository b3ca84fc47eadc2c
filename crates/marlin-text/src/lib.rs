//! Text for language models: tokenizers, incremental decoding, stop strings, chat templates and output
//! parsers.
//!
//! Nothing here knows a model or a device; the engine puts these parts around one. Everything that streams
//! gives the same result however its input is cut into pieces.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod detokenizer;
mod error;
mod message;
mod parse;
mod scan;
mod stop;
mod template;
mod tokenizer;

pub use detokenizer::Detokenizer;
pub use error::{Error, Result};
pub use message::{Content, Function, Message, ToolCall};
pub use parse::{Event, OutputParser, ParsedCall, SYNTAXES, Syntax};
pub use stop::StopStrings;
pub use template::{ChatTemplate, Conversation};
pub use tokenizer::{GgufVocab, Tokenizer};
