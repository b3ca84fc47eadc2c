//! The model half of a tokenizer: one vocabulary behind an `Arc`, whichever algorithm reads it.
//!
//! A tokenizer needs two encoders over the same vocabulary (special tokens recognised, special tokens as
//! plain text); sharing keeps one copy of the merges in memory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::{Model, ModelWrapper, Token};

use super::spm::ScoreMerge;

/// A vocabulary and the algorithm that splits text into its tokens.
#[derive(Clone)]
pub(super) enum SharedModel {
    /// Any model of the `tokenizers` library.
    Library(Arc<ModelWrapper>),
    /// SentencePiece BPE read from scores.
    ScoreMerge(Arc<ScoreMerge>),
}

impl<'de> Deserialize<'de> for SharedModel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::Library(Arc::new(ModelWrapper::deserialize(deserializer)?)))
    }
}

impl Serialize for SharedModel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Library(model) => model.serialize(serializer),
            Self::ScoreMerge(model) => model.serialize(serializer),
        }
    }
}

impl Model for SharedModel {
    type Trainer = TrainerWrapper;

    fn tokenize(&self, sequence: &str) -> tokenizers::Result<Vec<Token>> {
        match self {
            Self::Library(model) => model.tokenize(sequence),
            Self::ScoreMerge(model) => Ok(model.tokenize(sequence)),
        }
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        match self {
            Self::Library(model) => model.token_to_id(token),
            Self::ScoreMerge(model) => model.id(token),
        }
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        match self {
            Self::Library(model) => model.id_to_token(id),
            Self::ScoreMerge(model) => model.token(id).map(str::to_owned),
        }
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        match self {
            Self::Library(model) => model.get_vocab(),
            Self::ScoreMerge(model) => model.vocab(),
        }
    }

    fn get_vocab_size(&self) -> usize {
        match self {
            Self::Library(model) => model.get_vocab_size(),
            Self::ScoreMerge(model) => model.len(),
        }
    }

    fn save(&self, folder: &Path, prefix: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        match self {
            Self::Library(model) => model.save(folder, prefix),
            Self::ScoreMerge(_) => Err("a vocabulary of scores has no file form of its own".into()),
        }
    }

    fn get_trainer(&self) -> Self::Trainer {
        match self {
            Self::Library(model) => model.get_trainer(),
            Self::ScoreMerge(_) => BpeTrainer::default().into(),
        }
    }
}
