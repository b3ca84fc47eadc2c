//! Tokens in order of their logits without sorting the vocabulary.
//!
//! A logit and its token make one integer key; a larger key is a better token, and equal logits
//! rank by token, lowest first. So the order is total and a selection has one answer.
//!
//! ```text
//!  63                             32 31                              0
//!  | logit's bits, made monotonic   | token's bits, inverted          |
//! ```

/// The key of a token; NaN is not ordered.
pub fn key(logit: f32, token: u32) -> u64 {
    // Adding 0 turns -0 into 0, which compares equal as a logit and must as a key.
    let bits = (logit + 0.0).to_bits();
    let monotonic = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    u64::from(monotonic) << 32 | u64::from(!token)
}

/// The lowest key a token with this logit can have.
pub fn floor(logit: f32) -> u64 {
    key(logit, u32::MAX)
}

/// The token of a key.
pub fn token(key: u64) -> u32 {
    !(key as u32)
}

/// The logit of a key.
pub fn logit(key: u64) -> f32 {
    let monotonic = (key >> 32) as u32;
    f32::from_bits(if monotonic >> 31 == 1 { monotonic & !(1 << 31) } else { !monotonic })
}

/// Fills `keys` with the keys of a row of logits at or above `cutoff`, in token order.
pub fn fill(logits: &[f32], cutoff: u64, keys: &mut Vec<u64>) {
    keys.clear();
    keys.extend((0u32..).zip(logits).map(|(token, &logit)| key(logit, token)).filter(|&key| key >= cutoff));
}

/// Moves the `count` largest keys (all, if there are fewer) to the front, largest first, and returns
/// them; the rest is in no order.
pub fn best(keys: &mut [u64], count: usize) -> &mut [u64] {
    let count = count.min(keys.len());
    if 0 < count && count < keys.len() {
        keys.select_nth_unstable_by(count - 1, |a, b| b.cmp(a));
    }
    let front = &mut keys[..count];
    front.sort_unstable_by(|a, b| b.cmp(a));
    front
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_and_return_what_they_were_made_of() {
        let logits = [f32::NEG_INFINITY, f32::MIN, -1.5, -1e-40, 0.0, 1e-40, 2.0, f32::MAX];
        for pair in logits.windows(2) {
            assert!(floor(pair[1]) > key(pair[0], 0), "{pair:?}");
        }
        for value in logits {
            assert_eq!((logit(key(value, 154_879)), token(key(value, 154_879))), (value, 154_879));
            assert!(key(value, 3) > key(value, 4));
        }
        assert_eq!(key(-0.0, 7), key(0.0, 7));
    }

    #[test]
    fn best_is_a_prefix_of_the_sorted_row() {
        let logits: Vec<f32> =
            (0..97u32).map(|token| (token.wrapping_mul(2_654_435_761) >> 28) as f32).collect();
        let mut sorted = Vec::new();
        fill(&logits, 0, &mut sorted);
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        for count in [0, 1, 2, 31, 96, 97, 98, 1000] {
            let mut keys = Vec::new();
            fill(&logits, 0, &mut keys);
            assert_eq!(best(&mut keys, count), &sorted[..count.min(97)]);
        }
    }
}
