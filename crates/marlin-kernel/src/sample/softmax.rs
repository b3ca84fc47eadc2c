//! The parts of a softmax over one row of logits that sampling and scoring share.
//!
//! Sums run in f64 in token order, so they depend on the row alone.

/// Why one row of logits gives no distribution over tokens.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BadLogits {
    /// A logit is NaN or +inf: the forward pass is broken.
    #[error("logit of token {token} is {value}, expected a finite value or -inf")]
    NotFinite {
        /// The token.
        token: u32,
        /// Its logit.
        value: f32,
    },
    /// Every logit is -inf: nothing can be chosen.
    #[error("all {tokens} logits are -inf, expected one above")]
    NoToken {
        /// Logits in the row.
        tokens: usize,
    },
    /// One or the other, on a device that keeps the logits.
    #[error("a logit is NaN or inf, or all are -inf, expected finite values or some -inf")]
    Unusable,
}

/// The largest logit, after checking that the row is a distribution at all.
///
/// # Errors
/// [`BadLogits`] when a logit is NaN or +inf, or all are -inf.
pub fn largest(logits: &[f32]) -> Result<f32, BadLogits> {
    // One branch-free pass: a broken row is found here and looked up below.
    let (max, good) = logits.iter().fold((f32::NEG_INFINITY, true), |(max, good), &logit| {
        (if logit > max { logit } else { max }, good & (logit < f32::INFINITY))
    });
    if !good {
        let token = logits.iter().position(|&logit| logit.is_nan() || logit == f32::INFINITY);
        let token = token.expect("the pass above met it");
        return Err(BadLogits::NotFinite { token: token as u32, value: logits[token] });
    }
    if max == f32::NEG_INFINITY {
        return Err(BadLogits::NoToken { tokens: logits.len() });
    }
    Ok(max)
}

/// The first token with the largest logit.
///
/// # Errors
/// As [`largest`].
pub fn argmax(logits: &[f32]) -> Result<u32, BadLogits> {
    let max = largest(logits)?;
    let token = logits.iter().position(|&logit| logit == max);
    Ok(token.expect("the largest logit is one of them") as u32)
}

/// `ln(sum(exp(logits)))`, where `max` is the largest logit.
pub fn log_sum_exp(logits: &[f32], max: f32) -> f64 {
    let max = f64::from(max);
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - max).exp()).sum();
    max + sum.ln()
}

/// Kullback-Leibler divergence of a row of logits `q` from a row `p`, in nats, each with its
/// [`log_sum_exp`]: `sum exp(p - P) (p - q) - P + Q`. Equal rows give exactly 0; so does a token that
/// neither can choose.
pub fn divergence((p, p_sum): (&[f32], f64), (q, q_sum): (&[f32], f64)) -> f64 {
    let terms = p.iter().zip(q).map(|(&p, &q)| {
        let probability = (f64::from(p) - p_sum).exp();
        if probability > 0.0 { probability * (f64::from(p) - f64::from(q)) } else { 0.0 }
    });
    terms.fold(q_sum - p_sum, |sum, term| sum + term)
}
