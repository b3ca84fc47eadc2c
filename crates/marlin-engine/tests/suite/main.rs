//! The engine and the scores as a whole, played by a fake whose logits are a hash of the history.

mod engine;
mod fake;
mod generate;
mod score;
