//! Perplexity of given text.

use marlin_kernel::{Player, sample::softmax};
use rayon::prelude::*;

use super::{Broken, Estimate, Windows, windows::Pass};
use crate::{BadLogits, Error};

/// What one model thinks of a text, position by position.
#[derive(Clone, Debug, PartialEq)]
pub struct Perplexity {
    /// Tokens of the vocabulary.
    pub vocab_size: usize,
    /// Tokens of a window.
    pub n_ctx: usize,
    /// Negative log-likelihood (nats) of each scored token, window by window.
    pub nll: Vec<f64>,
}

impl Perplexity {
    /// Nothing scored yet.
    pub(super) fn new(windows: &Windows, vocab_size: usize) -> Perplexity {
        Perplexity { vocab_size, n_ctx: windows.n_ctx(), nll: Vec::new() }
    }

    /// Mean negative log-likelihood in nats.
    pub fn mean_nll(&self) -> Estimate {
        Estimate::mean(self.nll.iter().copied())
    }

    /// exp(mean nll), with llama.cpp's `PPL * sqrt((mean(nll^2) - mean(nll)^2) / (n - 1))`.
    pub fn perplexity(&self) -> Estimate {
        self.mean_nll().exp()
    }

    /// Whether the model predicts like a uniform guess.
    pub fn broken(&self) -> Option<Broken> {
        let perplexity = self.perplexity().value;
        let guess = 0.9 * self.vocab_size as f64;
        // The negation also catches NaN.
        let plausible = perplexity < guess;
        (!plausible).then_some(Broken::Perplexity { perplexity, vocab_size: self.vocab_size })
    }
}

/// Scores every window with `player`, at most `rows` tokens a batch; `on_pass` sees the result so far
/// after each. Holds at most `rows * vocab_size` logits.
///
/// # Errors
/// [`Error::Evaluation`] when the windows do not fit the player, [`Error::Window`] for unusable
/// logits, [`Error::Player`] when the player fails.
pub fn perplexity(
    player: &mut dyn Player,
    windows: &Windows,
    rows: usize,
    mut on_pass: impl FnMut(&Perplexity),
) -> Result<Perplexity, Error> {
    windows.check(player)?;
    let mut result = Perplexity::new(windows, player.plan().vocab_size());
    for pass in windows.passes(rows, windows.side_by_side(player)) {
        let logits = play(player, windows, &pass)?;
        let scored = each_position(windows, &pass, |window, position, row| {
            nll(&logits[row * result.vocab_size..][..result.vocab_size], windows.target(window, position))
        })?;
        result.nll.extend(scored);
        on_pass(&result);
    }
    Ok(result)
}

/// Plays a pass and returns its logits `[outputs, vocabulary]`, their number checked.
pub(super) fn play(player: &mut dyn Player, windows: &Windows, pass: &Pass) -> Result<Vec<f32>, Error> {
    let batch = windows.batch(pass, player.page_size());
    let logits = player.play(&batch)?;
    let (rows, vocab_size) = (batch.outputs.len(), player.plan().vocab_size());
    if logits.len() != rows * vocab_size {
        return Err(Error::Logits { player: player.describe(), found: logits.len(), rows, vocab_size });
    }
    Ok(logits)
}

/// Computes one statistic for each scored position of a pass, given window, position and row of the
/// logits; in parallel, in order.
pub(super) fn each_position<T: Send>(
    windows: &Windows,
    pass: &Pass,
    statistic: impl Fn(usize, usize, usize) -> Result<T, BadLogits> + Sync,
) -> Result<Vec<T>, Error> {
    let outputs: Vec<(usize, usize)> = windows.outputs(pass).collect();
    let results: Vec<Result<T, Error>> = outputs
        .into_par_iter()
        .enumerate()
        .map(|(row, (window, position))| {
            statistic(window, position, row).map_err(|logits| Error::Window { window, position, logits })
        })
        .collect();
    // Collected in order first: which of several errors is reported must not depend on threads.
    results.into_iter().collect()
}

fn nll(logits: &[f32], target: u32) -> Result<f64, BadLogits> {
    let normalizer = softmax::log_sum_exp(logits, softmax::largest(logits)?);
    Ok(normalizer - f64::from(logits[target as usize]))
}
