//! A tokenizer from the vocabulary a GGUF file carries (`tokenizer.ggml.*`).
//!
//! Two models: `gpt2`, byte-level BPE with a pre-tokenizer named in the file, and `llama`, SentencePiece BPE
//! read from scores. The rules are llama.cpp's (src/llama-vocab.cpp).

use tokenizers::decoders::{
    byte_fallback::ByteFallback, byte_level::ByteLevel, fuse::Fuse, sequence::Sequence as DecoderSequence,
    strip::Strip,
};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{prepend::Prepend, replace::Replace, utils::Sequence};
use tokenizers::processors::template::{SpecialToken, TemplateProcessing, Tokens};
use tokenizers::{AddedToken, DecoderWrapper, Model, NormalizerWrapper, PreTokenizerWrapper};

use super::pieces::{Pieces, Scheme};
use super::pre::PreTokenizer;
use super::shared::SharedModel;
use super::spm::ScoreMerge;
use super::{Encoder, MAX_IDS, Roles, TURN_ENDS, Tokenizer};
use crate::error::{Error, Result};

const MODELS: &str = "gpt2, llama";

/// The vocabulary of a GGUF file, field by field as its metadata holds it.
#[derive(Clone, Debug, Default)]
pub struct GgufVocab {
    /// `tokenizer.ggml.model`: `gpt2` or `llama`.
    pub model: String,
    /// `tokenizer.ggml.pre`: the pre-tokenizer of a `gpt2` vocabulary.
    pub pre: Option<String>,
    /// `tokenizer.ggml.tokens`.
    pub tokens: Vec<String>,
    /// `tokenizer.ggml.token_type`, parallel to `tokens`: 1 normal, 2 unknown, 3 control, 4 user-defined, 5
    /// unused, 6 byte. Empty means all normal.
    pub types: Vec<i32>,
    /// `tokenizer.ggml.scores`, parallel to `tokens`; only `llama` needs them.
    pub scores: Vec<f32>,
    /// `tokenizer.ggml.merges`: two tokens with a space between; only `gpt2` needs them.
    pub merges: Vec<String>,
    /// `tokenizer.ggml.bos_token_id`.
    pub bos: Option<u32>,
    /// `tokenizer.ggml.eos_token_id`.
    pub eos: Option<u32>,
    /// `tokenizer.ggml.unknown_token_id`.
    pub unk: Option<u32>,
    /// `tokenizer.ggml.add_bos_token`; by default as the model and pre-tokenizer are used.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`; by default no.
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`; by default yes for `llama`, unused by `gpt2`.
    pub add_space_prefix: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    /// Unknown and control: recognised only where a text may spell control tokens.
    Control,
    /// Recognised in every text.
    UserDefined,
    Byte,
}

pub(super) fn load(vocab: &GgufVocab) -> Result<Tokenizer> {
    let kinds = check(vocab)?;
    match vocab.model.as_str() {
        "gpt2" => byte_level(vocab, &kinds),
        "llama" => sentence_piece(vocab, &kinds),
        other => Err(Error::UnknownModel { found: other.to_owned(), known: MODELS.to_owned() }),
    }
}

/// Checks what every model needs and gives each token its kind.
fn check(vocab: &GgufVocab) -> Result<Vec<Kind>> {
    let size = vocab.tokens.len();
    if size > MAX_IDS {
        let (list, expected) = ("tokens", "at most 16777216 of them");
        return Err(Error::Entry { list, index: MAX_IDS, found: format!("{size} tokens"), expected });
    }
    for (list, found) in [("token_type", vocab.types.len()), ("scores", vocab.scores.len())] {
        if found != 0 && found != size {
            return Err(Error::ListLength { list, found, expected: size });
        }
    }
    for (token, id) in [("bos", vocab.bos), ("eos", vocab.eos), ("unk", vocab.unk)] {
        if let Some(id) = id.filter(|&id| id as usize >= size) {
            return Err(Error::SpecialId { token, id, size });
        }
    }
    let mut kinds = vec![Kind::Normal; size];
    for (index, &found) in vocab.types.iter().enumerate() {
        kinds[index] = match found {
            1 | 5 => Kind::Normal,
            2 | 3 => Kind::Control,
            4 => Kind::UserDefined,
            6 => Kind::Byte,
            _ => {
                let (list, expected) = ("token_type", "1 to 6");
                return Err(Error::Entry { list, index, found: found.to_string(), expected });
            }
        };
    }
    // Some converters mark the end of a turn as normal text, which would then never be recognised.
    for (kind, token) in kinds.iter_mut().zip(&vocab.tokens) {
        if TURN_ENDS.contains(&token.as_str()) {
            *kind = Kind::Control;
        }
    }
    Ok(kinds)
}

fn byte_level(vocab: &GgufVocab, kinds: &[Kind]) -> Result<Tokenizer> {
    let pre = PreTokenizer::find(vocab.pre.as_deref())?;
    let mut merges = Vec::with_capacity(vocab.merges.len());
    for (index, merge) in vocab.merges.iter().enumerate() {
        // A token may begin with a space, so the one between two tokens is looked for after the first
        // character.
        let first = merge.chars().next().map_or(0, char::len_utf8);
        let Some((left, right)) =
            merge[first..].find(' ').map(|at| (&merge[..first + at], &merge[first + at + 1..]))
        else {
            let expected = "two tokens with a space between";
            return Err(Error::Entry { list: "merges", index, found: merge.clone(), expected });
        };
        merges.push((left.to_owned(), right.to_owned()));
    }
    let ids: Vocab = vocab.tokens.iter().cloned().zip(0..).collect();
    let bpe = BPE::builder()
        .vocab_and_merges(ids, merges)
        .ignore_merges(pre.ignore_merges)
        .build()
        .map_err(|error| Error::tokenizer("gpt2 vocabulary", &error))?;
    let mut encoder = Encoder::new(SharedModel::Library(std::sync::Arc::new(bpe.into())));
    encoder.with_pre_tokenizer(Some(pre.pre_tokenizer()?));
    set_normalizer(&mut encoder, pre.normalizer())?;
    // Decoding goes by pieces; a tokenizer.json made of this tokenizer must name its decoder.
    encoder.with_decoder(Some(ByteLevel::default()));
    finish(vocab, kinds, encoder, Scheme::ByteLevel, pre.add_bos)
}

fn sentence_piece(vocab: &GgufVocab, kinds: &[Kind]) -> Result<Tokenizer> {
    let size = vocab.tokens.len();
    if vocab.scores.len() != size {
        return Err(Error::ListLength { list: "scores", found: vocab.scores.len(), expected: size });
    }
    if let Some(index) = vocab.scores.iter().position(|score| score.is_nan()) {
        return Err(Error::Entry { list: "scores", index, found: "NaN".to_owned(), expected: "a number" });
    }
    let mergeable = kinds.iter().map(|kind| matches!(kind, Kind::Normal | Kind::UserDefined)).collect();
    let model = ScoreMerge::new(vocab.tokens.clone(), vocab.scores.clone(), mergeable, vocab.unk);
    if !model.is_total() {
        let found = "neither byte tokens nor an unknown token".to_owned();
        return Err(Error::Entry { list: "tokens", index: size, found, expected: "<0x00> to <0xFF>" });
    }
    let mut encoder = Encoder::new(SharedModel::ScoreMerge(std::sync::Arc::new(model)));
    let strip_leading = vocab.add_space_prefix.unwrap_or(true);
    let mut steps: Vec<NormalizerWrapper> = Vec::new();
    if strip_leading {
        steps.push(Prepend::new(" ".to_owned()).into());
    }
    let replace =
        |from, to| Replace::new(from, to).map_err(|error| Error::tokenizer("llama vocabulary", &error));
    steps.push(replace(" ", "▁")?.into());
    set_normalizer(&mut encoder, Some(Sequence::new(steps).into()))?;
    encoder.with_pre_tokenizer(None::<PreTokenizerWrapper>);
    let mut steps: Vec<DecoderWrapper> =
        vec![replace("▁", " ")?.into(), ByteFallback::new().into(), Fuse::new().into()];
    if strip_leading {
        steps.push(Strip::new(' ', 1, 0).into());
    }
    encoder.with_decoder(Some(DecoderSequence::new(steps)));
    finish(vocab, kinds, encoder, Scheme::Spaced { byte_fallback: true, strip_leading }, true)
}

fn set_normalizer(encoder: &mut Encoder, normalizer: Option<NormalizerWrapper>) -> Result<()> {
    encoder.with_normalizer(normalizer).map_err(|error| Error::tokenizer("normalizer", &error))?;
    Ok(())
}

/// Adds what both models share: tokens recognised in text, tokens put around it, and decoding.
fn finish(
    vocab: &GgufVocab,
    kinds: &[Kind],
    mut encoder: Encoder,
    scheme: Scheme,
    default_add_bos: bool,
) -> Result<Tokenizer> {
    let added = vocab.tokens.iter().zip(kinds).filter_map(|(token, kind)| match kind {
        Kind::Control => Some(AddedToken::from(token.clone(), true)),
        Kind::UserDefined => Some(AddedToken::from(token.clone(), false).normalized(false)),
        Kind::Normal | Kind::Byte => None,
    });
    encoder.add_tokens(added).map_err(|error| Error::tokenizer("added tokens", &error))?;

    let around = [
        (vocab.bos.filter(|_| vocab.add_bos.unwrap_or(default_add_bos)), "bos"),
        (vocab.eos.filter(|_| vocab.add_eos.unwrap_or(false)), "eos"),
    ];
    encoder.with_post_processor(Some(surround(&encoder, around)?));

    let entries = vocab.tokens.iter().zip(kinds).map(|(token, kind)| {
        let is_added = matches!(kind, Kind::Control | Kind::UserDefined);
        let bytes = if is_added { scheme.added_bytes(token) } else { scheme.bytes(token) };
        (bytes, *kind == Kind::Control)
    });
    let pieces = Pieces::new(entries);
    let roles = Roles { bos: vocab.bos, eos: vocab.eos, unk: vocab.unk };
    Ok(Tokenizer::assemble(encoder, pieces, scheme, roles))
}

/// The post-processor that puts the tokens given (by id and a name) before and after a text.
fn surround(encoder: &Encoder, around: [(Option<u32>, &str); 2]) -> Result<TemplateProcessing> {
    let mut template = Vec::new();
    let mut tokens = Vec::new();
    for (position, (id, name)) in around.into_iter().enumerate() {
        if position == 1 {
            template.push("$A".to_owned());
        }
        if let Some(id) = id {
            let text = encoder.get_model().id_to_token(id).unwrap_or_default();
            let token = SpecialToken::new(name.to_owned(), vec![id], vec![text])
                .map_err(|error| Error::tokenizer("special tokens", &error))?;
            template.push(name.to_owned());
            tokens.push(token);
        }
    }
    TemplateProcessing::builder()
        .try_single(template)
        .map_err(|error| Error::tokenizer("special tokens", &error))?
        .special_tokens(Tokens::from(tokens))
        .build()
        .map_err(|error| Error::tokenizer("special tokens", &error))
}
