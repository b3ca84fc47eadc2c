//! Perplexity of given text.

use std::ops::Range;

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
    /// Positions of a window that are scored.
    pub scored: Range<usize>,
    /// Negative log-likelihood (nats) of each scored token, window by window.
    pub nll: Vec<f64>,
}

/// The perplexity of some positions of all windows.
#[derive(Clone, Debug, PartialEq)]
pub struct PartPerplexity {
    /// The positions whose logits were scored.
    pub positions: Range<usize>,
    /// Their perplexity.
    pub perplexity: Estimate,
}

impl Perplexity {
    /// Nothing scored yet.
    pub(super) fn new(windows: &Windows, vocab_size: usize) -> Perplexity {
        Perplexity { vocab_size, n_ctx: windows.n_ctx(), scored: windows.scored(), nll: Vec::new() }
    }

    /// Mean negative log-likelihood in nats.
    pub fn mean_nll(&self) -> Estimate {
        Estimate::mean(self.nll.iter().copied())
    }

    /// exp(mean nll), with llama.cpp's `PPL * sqrt((mean(nll^2) - mean(nll)^2) / (n - 1))`.
    pub fn perplexity(&self) -> Estimate {
        self.mean_nll().exp()
    }

    /// The perplexity of parts of the windows: the scored positions cut into `parts` runs of nearly equal
    /// length, fewer if there are fewer positions. Shows whether a longer context helps as it should.
    pub fn by_position(&self, parts: usize) -> Vec<PartPerplexity> {
        let len = self.scored.len();
        let parts = parts.clamp(1, len.max(1));
        let part = |at: usize| {
            let (first, end) = (at * len / parts, (at + 1) * len / parts);
            let nll = self.nll.chunks_exact(len).flat_map(|window| &window[first..end]).copied();
            let positions = self.scored.start + first..self.scored.start + end;
            PartPerplexity { positions, perplexity: Estimate::mean(nll).exp() }
        };
        (0..parts).map(part).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_windows_by_hand() {
        // Two windows of 6 tokens whose positions 3 and 4 are scored, each a part.
        let nll = [2.0, 4.0, 6.0, 8.0].map(f64::ln).to_vec();
        let result = Perplexity { vocab_size: 10, n_ctx: 6, scored: 3..5, nll };
        let parts = result.by_position(7);
        assert_eq!((parts[0].positions.clone(), parts[1].positions.clone(), parts.len()), (3..4, 4..5, 2));
        assert!((parts[0].perplexity.value - 12f64.sqrt()).abs() < 1e-12);
        assert!((parts[1].perplexity.value - 32f64.sqrt()).abs() < 1e-12);
        assert!((result.by_position(1)[0].perplexity.value - result.perplexity().value).abs() < 1e-12);
    }
}
