//! How far a candidate is from a reference on the same windows, in one process.

use marlin_kernel::{Player, sample::softmax};

use super::{
    Broken, Estimate, Perplexity, Windows,
    perplexity::{each_position, play},
    quantile,
};
use crate::{BadLogits, Error};

/// Below this share of equal first choices the candidate is no version of the reference.
const MIN_AGREEMENT: f64 = 0.6;

/// Two models on the same text, position by position.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The reference's own scores.
    pub reference: Perplexity,
    /// The candidate's own scores.
    pub candidate: Perplexity,
    /// Kullback-Leibler divergence KL(reference || candidate) in nats at each scored position, over
    /// the whole vocabulary (llama.cpp leaves out tokens with ln p <= -16 and reads the reference
    /// rounded to 16 bits, which costs it about 0.0005).
    pub kl: Vec<f64>,
    /// Whether both have the same first choice.
    pub same_top: Vec<bool>,
    /// Probability of the correct token: candidate minus reference.
    pub delta_p: Vec<f64>,
}

impl Comparison {
    /// Mean divergence in nats.
    pub fn mean_kl(&self) -> Estimate {
        Estimate::mean(self.kl.iter().copied())
    }

    /// Quantiles of the divergence: 0.5 is the median, 1 the maximum.
    pub fn kl_quantiles<const N: usize>(&self, at: [f64; N]) -> [f64; N] {
        let mut sorted = self.kl.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        at.map(|at| quantile(&sorted, at))
    }

    /// Share of positions with the same first choice, and its binomial sigma.
    pub fn agreement(&self) -> Estimate {
        Estimate::mean(self.same_top.iter().map(|&same| f64::from(u8::from(same))))
    }

    /// Mean change of the correct token's probability.
    pub fn mean_delta_p(&self) -> Estimate {
        Estimate::mean(self.delta_p.iter().copied())
    }

    /// Root mean square change of the correct token's probability.
    pub fn rms_delta_p(&self) -> Estimate {
        Estimate::mean(self.delta_p.iter().map(|delta| delta * delta)).sqrt()
    }

    /// Mean of candidate's minus reference's nll, paired by position: ln of the perplexity ratio.
    pub fn delta_nll(&self) -> Estimate {
        Estimate::mean(
            self.candidate
                .nll
                .iter()
                .zip(&self.reference.nll)
                .map(|(candidate, reference)| candidate - reference),
        )
    }

    /// Candidate's perplexity over the reference's; the error is the paired one.
    pub fn perplexity_ratio(&self) -> Estimate {
        self.delta_nll().exp()
    }

    /// Every sign of a broken forward pass, in either model.
    pub fn broken(&self) -> Vec<Broken> {
        let agreement = self.agreement().value;
        let disagree = (agreement < MIN_AGREEMENT).then_some(Broken::Agreement { agreement });
        [self.reference.broken(), self.candidate.broken(), disagree].into_iter().flatten().collect()
    }
}

/// Scores every window with both players, at most `rows` tokens a batch; `on_pass` sees the result so
/// far after each. Holds at most `2 * rows * vocab_size` logits.
///
/// # Errors
/// As [`perplexity`](super::perplexity); also [`Error::Evaluation`] when the vocabularies differ.
pub fn compare(
    reference: &mut dyn Player,
    candidate: &mut dyn Player,
    windows: &Windows,
    rows: usize,
    mut on_pass: impl FnMut(&Comparison),
) -> Result<Comparison, Error> {
    windows.check(reference)?;
    windows.check(candidate)?;
    let vocab_size = reference.plan().vocab_size();
    let found = candidate.plan().vocab_size();
    if found != vocab_size {
        let expected = format!("the reference's {vocab_size}");
        return Err(Error::Evaluation { what: "candidate's vocabulary", found, expected });
    }
    let mut result = Comparison {
        reference: Perplexity::new(windows, vocab_size),
        candidate: Perplexity::new(windows, vocab_size),
        kl: Vec::new(),
        same_top: Vec::new(),
        delta_p: Vec::new(),
    };
    let most = windows.side_by_side(reference).min(windows.side_by_side(candidate));
    for pass in windows.passes(rows, most) {
        let expected = play(reference, windows, &pass)?;
        let found = play(candidate, windows, &pass)?;
        let pairs = each_position(windows, &pass, |window, position, at| {
            let rows = at * vocab_size..(at + 1) * vocab_size;
            Pair::of(&expected[rows.clone()], &found[rows], windows.target(window, position))
        })?;
        for pair in pairs {
            result.push(pair);
        }
        on_pass(&result);
    }
    Ok(result)
}

impl Comparison {
    fn push(&mut self, pair: Pair) {
        self.reference.nll.push(pair.reference_nll);
        self.candidate.nll.push(pair.candidate_nll);
        self.kl.push(pair.kl);
        self.same_top.push(pair.same_top);
        self.delta_p.push((-pair.candidate_nll).exp() - (-pair.reference_nll).exp());
    }
}

/// One position of both.
struct Pair {
    reference_nll: f64,
    candidate_nll: f64,
    kl: f64,
    same_top: bool,
}

impl Pair {
    fn of(reference: &[f32], candidate: &[f32], target: u32) -> Result<Pair, BadLogits> {
        let (top, other_top) = (softmax::argmax(reference)?, softmax::argmax(candidate)?);
        let a = softmax::log_sum_exp(reference, reference[top as usize]);
        let b = softmax::log_sum_exp(candidate, candidate[other_top as usize]);
        Ok(Pair {
            reference_nll: a - f64::from(reference[target as usize]),
            candidate_nll: b - f64::from(candidate[target as usize]),
            kl: softmax::divergence((reference, a), (candidate, b)),
            same_top: top == other_top,
        })
    }
}

#[cfg(test)]
mod tests;
