//! Text to token ids and back, whichever file the vocabulary came from.
//!
//! A [`Tokenizer`] is immutable and cheap to clone; ids agree with Hugging Face's for a `tokenizer.json` and
//! with llama.cpp's for a GGUF vocabulary.

mod export;
mod gguf;
mod json;
mod pieces;
mod pre;
mod shared;
mod spm;

use std::sync::Arc;

use tokenizers::{
    DecoderWrapper, Model, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
};

pub use self::gguf::GgufVocab;
pub(crate) use self::json::token_content;
use self::pieces::{Pieces, Scheme};
use self::shared::SharedModel;
use crate::detokenizer::Detokenizer;
use crate::error::{Error, Result};

type Encoder =
    TokenizerImpl<SharedModel, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// Largest number of token ids accepted from a file.
const MAX_IDS: usize = 1 << 24;

/// Texts that end a model's turn in the vocabularies of well-known models.
const TURN_ENDS: &[&str] = &[
    "</s>",
    "<eos>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<｜end▁of▁sentence｜>",
    "<EOT>",
    "[EOT]",
];

/// Texts that begin the next speaker's turn where no token ends one: GLM's vocabularies, known by `[gMASK]`.
const GLM_TURN_ENDS: &[&str] = &["<|user|>", "<|observation|>"];

/// Splits text into token ids and joins them again.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
}

struct Inner {
    /// Recognises every added token in a text.
    parsing: Encoder,
    /// Takes the texts of special tokens as plain text; shares the vocabulary of `parsing`.
    literal: Encoder,
    pieces: Pieces,
    scheme: Scheme,
    bos: Option<u32>,
    eos: Option<u32>,
    unk: Option<u32>,
    turn_ends: Vec<u32>,
}

/// Ids with a role, as a file names them.
#[derive(Clone, Copy, Default)]
struct Roles {
    bos: Option<u32>,
    eos: Option<u32>,
    unk: Option<u32>,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`; `config` is the `tokenizer_config.json` beside it, which names BOS, EOS and
    /// UNK.
    ///
    /// # Errors
    /// Unreadable JSON, a section the `tokenizers` library refuses, a decoder that cannot run token by
    /// token, or a special token that the vocabulary lacks.
    pub fn from_json(tokenizer: &[u8], config: Option<&[u8]>) -> Result<Self> {
        json::load(tokenizer, config)
    }

    /// Builds the tokenizer of a GGUF file's vocabulary.
    ///
    /// # Errors
    /// An unknown model or pre-tokenizer (with the known ones listed), lists of unequal length, ids outside
    /// the vocabulary, merges that are none.
    pub fn from_gguf(vocab: &GgufVocab) -> Result<Self> {
        gguf::load(vocab)
    }

    /// The vocabulary that a GGUF holds of this tokenizer; of a `tokenizer.json` only if it is byte-level
    /// BPE that llama.cpp has a name for.
    ///
    /// # Errors
    /// [`Error::NoGguf`] says which part has no place in a GGUF.
    pub fn to_gguf(&self) -> Result<GgufVocab> {
        export::vocab(self)
    }

    /// The bytes of a `tokenizer.json` that reads back as this tokenizer.
    ///
    /// The scores of a GGUF's `llama` vocabulary become merges.
    ///
    /// # Errors
    /// None is known; the library's writer may refuse.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(&self.inner.parsing)
            .map_err(|source| Error::Json { file: "tokenizer.json", source })
    }

    /// Completes an encoder: `pieces` says what each id decodes to, in the manner of `scheme`.
    fn assemble(parsing: Encoder, pieces: Pieces, scheme: Scheme, roles: Roles) -> Self {
        let mut literal = parsing.clone();
        literal.set_encode_special_tokens(true);
        let mut turn_ends = Vec::from_iter(roles.eos);
        let has = |text: &str| parsing.token_to_id(text);
        for text in TURN_ENDS {
            // With <|return|> in the vocabulary, <|end|> only ends a message, not the turn.
            let is_message_end = *text == "<|end|>" && has("<|return|>").is_some();
            turn_ends.extend(has(text).filter(|_| !is_message_end));
        }
        if has("[gMASK]").is_some() {
            turn_ends.extend(GLM_TURN_ENDS.iter().filter_map(|text| has(text)));
        }
        turn_ends.sort_unstable();
        turn_ends.dedup();
        let Roles { bos, eos, unk } = roles;
        Self { inner: Arc::new(Inner { parsing, literal, pieces, scheme, bos, eos, unk, turn_ends }) }
    }

    /// Splits `text` into ids.
    ///
    /// `add_special` adds what the vocabulary puts around a text (usually BOS); leave it off for the output
    /// of a chat template, which writes BOS itself. `parse_special` recognises control tokens spelled out in
    /// `text`; leave it off for text from outside, so that nobody can forge a turn. Added tokens that are
    /// not special are recognised either way. After a run of a million characters of one kind the regular
    /// expressions give up: the text still survives the round trip, but its last words may be cut unlike
    /// other libraries cut them.
    ///
    /// # Errors
    /// The vocabulary cannot express the text.
    pub fn encode(&self, text: &str, add_special: bool, parse_special: bool) -> Result<Vec<u32>> {
        let encoder = if parse_special { &self.inner.parsing } else { &self.inner.literal };
        let encoding = encoder
            .encode_fast(text, add_special)
            .map_err(|error| Error::tokenizer("encoding text", &error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Joins ids to text, as one whole text from its beginning; `skip_special` leaves out control tokens.
    ///
    /// Bytes that are no UTF-8 become U+FFFD, ids outside the vocabulary become nothing.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let mut detokenizer = Detokenizer::from_start(self, skip_special);
        let mut text = String::new();
        for &id in ids {
            detokenizer.push_to(id, &mut text);
        }
        detokenizer.finish_to(&mut text);
        text
    }

    /// The vocabulary's own spelling of a token, for example `Ġthe`, `▁the` or `<0x0A>`.
    pub fn token_text(&self, id: u32) -> Option<String> {
        self.inner.parsing.id_to_token(id)
    }

    /// The bytes that a token adds to a text; they need not be whole characters.
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.inner.pieces.bytes(id)
    }

    /// The id of a token given in the vocabulary's own spelling.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.parsing.token_to_id(token)
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        self.inner.pieces.len()
    }

    /// Whether an id is a control token, which `skip_special` leaves out.
    pub fn is_special(&self, id: u32) -> bool {
        self.inner.pieces.is_special(id)
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.inner.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.inner.eos
    }

    /// The token for what the vocabulary cannot express.
    pub fn unk(&self) -> Option<u32> {
        self.inner.unk
    }

    /// The ids at which a model's turn is over, ascending: EOS and the end-of-turn tokens of well-known
    /// models that this vocabulary has. A model's own list (`eos_token_id` of its configuration) adds to it.
    pub fn turn_ends(&self) -> &[u32] {
        &self.inner.turn_ends
    }

    /// Checks that a model of `model_rows` embedding rows has one for every id.
    ///
    /// # Errors
    /// [`Error::VocabMismatch`] with both numbers.
    pub fn check_vocab(&self, model_rows: usize) -> Result<()> {
        match self.vocab_size().checked_sub(1) {
            Some(largest) if largest >= model_rows => {
                Err(Error::VocabMismatch { largest: largest as u32, model: model_rows })
            }
            _ => Ok(()),
        }
    }

    /// Whether one space at the very start of a text is dropped in decoding.
    pub(crate) fn strips_leading_space(&self) -> bool {
        self.inner.scheme.strips_leading_space()
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("ids", &self.vocab_size())
            .field("model_tokens", &self.inner.parsing.get_model().get_vocab_size())
            .field("scheme", &self.inner.scheme)
            .finish_non_exhaustive()
    }
}
