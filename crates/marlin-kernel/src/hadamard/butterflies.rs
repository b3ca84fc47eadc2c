//! The transform in `log2(block)` passes of sums and differences, in place: what a CPU plays, and what folds
//! a rotation into weights.

/// The transform of each run of `block` entries of `values`, an entry being `width` values beside each other.
///
/// Panics if `block` is no power of two.
pub fn transform(values: &mut [f32], block: usize, width: usize) {
    assert!(block.is_power_of_two(), "a block of {block}");
    let factor = (block as f32).powf(-0.5);
    for values in values.chunks_exact_mut(block * width) {
        let mut half = width;
        while half < values.len() {
            for pair in values.chunks_exact_mut(2 * half) {
                let (left, right) = pair.split_at_mut(half);
                for (a, b) in left.iter_mut().zip(right) {
                    (*a, *b) = (*a + *b, *a - *b);
                }
            }
            half *= 2;
        }
        values.iter_mut().for_each(|value| *value *= factor);
    }
}
