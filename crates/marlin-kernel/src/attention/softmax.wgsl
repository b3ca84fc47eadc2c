// The softmax of a round of attention/matrix: LANES threads side by side have one pair.

var<workgroup> scores: array<f32, SLICES * PAIRS * SCORE>;
var<workgroup> weights: array<f16, PAIRS * WEIGHT>;
// What a pair's accumulators must be multiplied by, and for each subgroup whether one of its is not 1.
var<workgroup> factors: array<f32, PAIRS>;
var<workgroup> rescale: array<u32, SUBGROUPS>;

// Whether any accumulator must be rescaled. Without a loop, whose counter would not count as uniform.
fn must_rescale() -> bool {
    let low = rescale[0] | rescale[1] | rescale[2] | rescale[3];
    return (low | rescale[4] | rescale[5] | rescale[6] | rescale[7]) > 0u;
}

// Weights of the pair `own` from its scores for the positions from `begin`, and its sums so far.
fn softmax(
    own: Pair, begin: u32, end: u32, thread: u32, largest: ptr<function, f32>, sum: ptr<function, f32>,
) {
    let pair = thread / LANES;
    var score: array<f32, POSITIONS / LANES>;
    var high = LOWEST;
    for (var i = 0u; i < POSITIONS / LANES; i += 1u) {
        let at = i * LANES + thread % LANES;
        var total = 0.0;
        for (var slice = 0u; slice < SLICES; slice += 1u) {
            total += scores[(slice * PAIRS + pair) * SCORE + at];
        }
        score[i] = select(LOWEST, total * step.scale, begin + at < end && visible(own, begin + at));
        high = max(high, score[i]);
    }
    for (var i = 1u; i < LANES; i *= 2u) {
        high = max(high, subgroupShuffleXor(high, i));
    }
    var factor = 1.0;
    if high > *largest + LAG {
        // Nothing was accumulated below the first score.
        factor = select(1.0, exp(*largest - high), *largest > LOWEST);
        *largest = high;
        *sum *= factor;
    }
    for (var i = 0u; i < POSITIONS / LANES; i += 1u) {
        // The sum takes what the product takes: the rounded weight.
        let weight = f16(select(0.0, exp(score[i] - *largest), score[i] > LOWEST));
        weights[pair * WEIGHT + i * LANES + thread % LANES] = weight;
        *sum += f32(weight);
    }
    if thread % LANES == 0u {
        factors[pair] = factor;
    }
    let changed = subgroupAny(factor != 1.0);
    if thread % 32u == 0u {
        rescale[thread / 32u] = u32(changed);
    }
}
