// Chooses experts from router logits: the best `top_k` of score + bias, weighted by the score.
//
// grid: x = rows; 256 threads. At most 1024 experts, 256 groups, top_k 256.
// An expert's rank is the number of experts better than it, so all find their places at once:
//
//   scores  | s0 | s1 | s2 | ...     choices as ordered integers: larger is better, equal ones by index
//   rank    | 2  | 0  | 5  | ...     < top_k: written to column `rank`
//
// Moves the logits and the result once; experts^2 comparisons a row.
//#import arena

struct Step {
    rows_of: u32,
    logits: u32,
    logits_stride: u32,
    // First word of the bias in `vectors`, or NONE.
    bias: u32,
    experts: u32,
    experts_stride: u32,
    weights: u32,
    weights_stride: u32,
    count: u32,
    top_k: u32,
    groups: u32,
    top_groups: u32,
    // 0: sigmoid, 1: softmax.
    scoring: u32,
    normalize: u32,
    eps: f32,
    scale: f32,
}
@group(0) @binding(0) var<uniform> step: Step;

const NONE: u32 = 0xffffffffu;
const MOST: u32 = 1024u;

var<workgroup> scores: array<f32, MOST>;
var<workgroup> choices: array<f32, MOST>;
// What is ordered: keys of choices; and of the groups.
var<workgroup> keys: array<u32, MOST>;
var<workgroup> group_keys: array<u32, 256>;
// Scores of the chosen, best first.
var<workgroup> best: array<f32, 256>;
var<workgroup> parts: array<f32, 64>;

// An integer that is larger for a larger number; 1 for NaN, 0 is below all.
fn key(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    if (bits & 0x7fffffffu) > 0x7f800000u {
        return 1u;
    }
    // -0 and 0 are equal.
    return select(bits | 0x80000000u, ~bits, bits > 0x80000000u);
}

// Held where exp neither overflows nor meets an infinity.
fn sigmoid(x: f32) -> f32 {
    return 1.0 / (1.0 + exp(clamp(-x, -87.0, 87.0)));
}

// Largest of one value a thread, for all threads.
fn workgroup_max(value: f32, subgroup: u32, subgroups: u32, lane: u32) -> f32 {
    let part = subgroupMax(value);
    if lane == 0u {
        parts[subgroup] = part;
    }
    workgroupBarrier();
    var largest = parts[0];
    for (var i = 1u; i < subgroups; i += 1u) {
        largest = max(largest, parts[i]);
    }
    workgroupBarrier();
    return largest;
}

fn workgroup_sum(value: f32, subgroup: u32, subgroups: u32, lane: u32) -> f32 {
    let part = subgroupAdd(value);
    if lane == 0u {
        parts[subgroup] = part;
    }
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < subgroups; i += 1u) {
        sum += parts[i];
    }
    workgroupBarrier();
    return sum;
}

// The sum of the two best choices of a group.
fn group_choice(group: u32, size: u32) -> f32 {
    var first = group * size;
    for (var i = first + 1u; i < (group + 1u) * size; i += 1u) {
        first = select(first, i, keys[i] > keys[first]);
    }
    var second = select(group * size, group * size + 1u, first == group * size);
    for (var i = second + 1u; i < (group + 1u) * size; i += 1u) {
        second = select(second, i, i != first && keys[i] > keys[second]);
    }
    return choices[first] + choices[second];
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let row = group.x;
    if row >= batch[step.rows_of] {
        return;
    }
    var largest = -3.0e38;
    for (var i = local; i < step.count; i += 256u) {
        let logit = arena[step.logits + row * step.logits_stride + i];
        scores[i] = logit;
        // NaN counts for nothing here: max may return either operand.
        largest = max(largest, select(-3.0e38, min(logit, 3.0e38), key(logit) > 1u));
    }
    if step.scoring == 1u {
        largest = workgroup_max(largest, subgroup, subgroups, lane);
        var part = 0.0;
        for (var i = local; i < step.count; i += 256u) {
            scores[i] = exp(max(scores[i] - largest, -87.0));
            part += scores[i];
        }
        let sum = workgroup_sum(part, subgroup, subgroups, lane);
        for (var i = local; i < step.count; i += 256u) {
            scores[i] /= sum;
        }
    } else {
        for (var i = local; i < step.count; i += 256u) {
            scores[i] = sigmoid(scores[i]);
        }
    }
    for (var i = local; i < step.count; i += 256u) {
        var choice = scores[i];
        if step.bias != NONE {
            choice += vectors[step.bias + i];
        }
        // By the logit's own bits: what exp makes of a NaN is the device's business.
        let known = key(arena[step.logits + row * step.logits_stride + i]) > 1u;
        choices[i] = select(-3.0e38, choice, known);
        keys[i] = select(1u, key(choice), known);
    }
    workgroupBarrier();
    if step.groups > 1u {
        let size = step.count / step.groups;
        for (var g = local; g < step.groups; g += 256u) {
            group_keys[g] = key(group_choice(g, size));
        }
        workgroupBarrier();
        for (var i = local; i < step.count; i += 256u) {
            let own = i / size;
            var rank = 0u;
            for (var g = 0u; g < step.groups; g += 1u) {
                let better = group_keys[g] > group_keys[own] || (group_keys[g] == group_keys[own] && g < own);
                rank += select(0u, 1u, better);
            }
            if rank >= step.top_groups {
                keys[i] = 0u;
            }
        }
        workgroupBarrier();
    }
    for (var i = local; i < step.count; i += 256u) {
        var rank = 0u;
        for (var j = 0u; j < step.count; j += 1u) {
            rank += select(0u, 1u, keys[j] > keys[i] || (keys[j] == keys[i] && j < i));
        }
        if rank < step.top_k {
            best[rank] = scores[i];
            arena[step.experts + row * step.experts_stride + rank] = bitcast<f32>(i);
        }
    }
    workgroupBarrier();
    var divisor = 1.0;
    if step.normalize == 1u {
        divisor = step.eps;
        for (var i = 0u; i < step.top_k; i += 1u) {
            divisor += best[i];
        }
    }
    for (var i = local; i < step.top_k; i += 256u) {
        arena[step.weights + row * step.weights_stride + i] = best[i] / divisor * step.scale;
    }
}
