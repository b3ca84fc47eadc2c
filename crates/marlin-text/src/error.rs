//! The one error type of this crate.
//!
//! Every message says where, what was found and what was expected; file bytes lead here, never to a panic.

/// What can go wrong with text handling.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A JSON document could not be read.
    #[error("{file}: {source}")]
    Json {
        /// Name of the document, for example `tokenizer.json`.
        file: &'static str,
        /// Position and reason.
        source: serde_json::Error,
    },
    /// A tokenizer definition was refused by the `tokenizers` library, or a text could not be encoded.
    #[error("{context}: {message}")]
    Tokenizer {
        /// What was being done.
        context: &'static str,
        /// The library's reason.
        message: String,
    },
    /// A vocabulary's algorithm is not one of ours.
    #[error("tokenizer model '{found}' is unknown, expected one of: {known}")]
    UnknownModel {
        /// The name in the file.
        found: String,
        /// All names this crate knows.
        known: String,
    },
    /// A vocabulary's pre-tokenizer is not one of ours.
    #[error("pre-tokenizer '{found}' is unknown, expected one of: {known}")]
    UnknownPre {
        /// The name in the file.
        found: String,
        /// All names this crate knows.
        known: String,
    },
    /// Two lists of a vocabulary that must be parallel are not.
    #[error("tokenizer {list}: {found} entries, expected {expected}, one a token")]
    ListLength {
        /// The list.
        list: &'static str,
        /// Its length.
        found: usize,
        /// The number of tokens.
        expected: usize,
    },
    /// An entry of a vocabulary is unusable.
    #[error("tokenizer {list}[{index}]: found {found:?}, expected {expected}")]
    Entry {
        /// The list.
        list: &'static str,
        /// Index into it.
        index: usize,
        /// The entry.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A special token's id lies outside the vocabulary.
    #[error("tokenizer {token} id {id}: the vocabulary has {size} tokens")]
    SpecialId {
        /// `bos`, `eos`, …
        token: &'static str,
        /// The id in the file.
        id: u32,
        /// Number of tokens.
        size: usize,
    },
    /// A special token is named but not in the vocabulary, or under another id.
    #[error("tokenizer.json: token {token:?} has id {found:?}, expected {expected:?}")]
    TokenId {
        /// The token's text.
        token: String,
        /// The id it has.
        found: Option<u32>,
        /// The id the file promises, where it does.
        expected: Option<u32>,
    },
    /// The decoder section is none that can be run token by token.
    #[error(
        "tokenizer.json: decoder '{found}' is unknown, expected ByteLevel, Metaspace, or a Sequence of \
             Replace ▁, ByteFallback, Fuse, Strip, ByteLevel"
    )]
    Decoder {
        /// Type of the decoder.
        found: String,
    },
    /// The tokenizer can produce ids the model has no embedding for.
    #[error("tokenizer has token ids up to {largest}, the model's vocabulary has {model} rows")]
    VocabMismatch {
        /// Largest id of the tokenizer.
        largest: u32,
        /// Rows of the model's embedding.
        model: usize,
    },
    /// A GGUF has no way to say what a part of the tokenizer does.
    #[error("tokenizer.json: {part}: found {found}, a GGUF can only say {expected}")]
    NoGguf {
        /// The part.
        part: &'static str,
        /// What it is.
        found: String,
        /// What it would have to be.
        expected: &'static str,
    },
    /// A stop string is empty.
    #[error("stop string {index} is empty, expected at least one character")]
    EmptyStop {
        /// Its index in the list given.
        index: usize,
    },
    /// A chat template does not compile.
    #[error("chat template '{name}': {message}")]
    Template {
        /// Name of the template, `default` where it has none.
        name: String,
        /// Line and reason.
        message: String,
    },
    /// A list of named chat templates has none that may be used.
    #[error("chat template: found names [{found}], expected 'default' among them")]
    NoDefaultTemplate {
        /// The names present.
        found: String,
    },
    /// A chat template failed on these messages.
    #[error("chat template '{name}' on {messages} messages: {message}")]
    Render {
        /// Name of the template.
        name: String,
        /// Number of messages given.
        messages: usize,
        /// Line and reason.
        message: String,
    },
    /// A chat template refused these messages by `raise_exception`.
    #[error("chat template '{name}' refuses these messages: {message}")]
    Refused {
        /// Name of the template.
        name: String,
        /// The template's own words.
        message: String,
    },
    /// No output parser has this name.
    #[error("output parser '{found}' is unknown, expected one of: {known}")]
    UnknownParser {
        /// The name asked for.
        found: String,
        /// All names.
        known: String,
    },
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Wraps a refusal of the `tokenizers` library.
    pub(crate) fn tokenizer(context: &'static str, error: &dyn std::fmt::Display) -> Self {
        Self::Tokenizer { context, message: error.to_string() }
    }
}
