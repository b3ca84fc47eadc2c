// Merges the splits of attention: out = sum_i e^(max_i - max) acc_i / (sum_i e^(max_i - max) sum_i + sink).
//
// grid: x = rows, y = heads, z = ceil(v_width / 32). A workgroup takes 32 columns of one pair; 8 threads of a
// column take every eighth split each:
//
//   thread     0  1  ..  31 | 32 ..   63 | 64 ..   95 | ..
//   column     0  1  ..  31 |  0 ..   31 |  0 ..   31 | ..
//   splits     0 8 16 24 .. | 1 9 17 ..  | 2 10 18 .. | ..
//
// At most 256 splits, one a thread for their largest scores and sums. Time is latency, not bytes: all that
// does not wait for another load is loaded at once.
// Step: the one of the attention shader, whose scratch it reads once.
//#import attention/tile

const MOST_SPLITS: u32 = 256u;
var<workgroup> weights: array<f32, MOST_SPLITS>;
var<workgroup> parts: array<f32, 256>;

// Place in scratch of the first split of a row and head.
fn first_split(row: u32, head: u32, splits: u32, pairs: u32) -> u32 {
    let group = step.heads / step.kv_heads;
    var tile = 0u;
    var at = batch[9];
    while row >= batch[at] + batch[at + 1u] {
        tile += (batch[at + 1u] * group + pairs - 1u) / pairs;
        at += 4u;
    }
    let pair = (row - batch[at]) * group + head % group;
    tile += pair / pairs;
    return (tile * step.kv_heads + head / group) * splits * pairs + pair % pairs;
}

// Where a column of a pair's splits is in scratch.
struct Column {
    first: u32,
    stride: u32,
    splits: u32,
}

// What the splits `i`, `i + 8`, `i + 16` and `i + 24` have of a column, even if their weights will say that
// nothing was stored; past the last split it is the last's.
fn part4(column: Column, i: u32) -> vec4<f32> {
    let at = min(vec4(i, i + 8u, i + 16u, i + 24u), vec4(column.splits - 1u)) * column.stride + column.first;
    return vec4(scratch[at.x], scratch[at.y], scratch[at.z], scratch[at.w]);
}

// Their sum, weighted.
fn weighted(values: vec4<f32>, i: u32) -> f32 {
    let weight = vec4(weights[i], weights[i + 8u], weights[i + 16u], weights[i + 24u]);
    let sums = select(vec4<f32>(), weight * values, weight > vec4<f32>());
    return (sums.x + sums.y) + (sums.z + sums.w);
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let splits = min(bitcast<u32>(scratch[0]), MOST_SPLITS);
    let pairs = bitcast<u32>(scratch[1]);
    let all = bitcast<u32>(scratch[2]);
    let first = first_split(group.x, group.y, splits, pairs);

    // Asked for at once: the largest score and sum of a split, and the first splits' values.
    let own = 4u + 2u * (first + min(thread, splits - 1u) * pairs);
    let high = scratch[own];
    let part = select(0.0, scratch[own + 1u], thread < splits);
    let col = group.z * 32u + thread % 32u;
    let at = 4u + 2u * all + first * step.v_width + min(col, step.v_width - 1u);
    let column = Column(at, pairs * step.v_width, splits);
    var i = thread / 32u;
    var v0 = part4(column, i);
    var v1 = part4(column, i + 32u);
    var v2 = part4(column, i + 64u);
    var v3 = part4(column, i + 96u);

    var largest = subgroupMax(high);
    if lane == 0u {
        parts[subgroup] = largest;
    }
    workgroupBarrier();
    for (var i = 0u; i < subgroups; i += 1u) {
        largest = max(largest, parts[i]);
    }
    workgroupBarrier();
    let weight = select(0.0, exp(high - largest), part > 0.0);
    weights[thread] = weight;
    var sum = subgroupAdd(weight * part);
    if lane == 0u {
        parts[subgroup] = sum;
    }
    workgroupBarrier();
    sum = 0.0;
    for (var i = 0u; i < subgroups; i += 1u) {
        sum += parts[i];
    }
    workgroupBarrier();

    var value = 0.0;
    loop {
        value += (weighted(v0, i) + weighted(v1, i + 32u)) + (weighted(v2, i + 64u) + weighted(v3, i + 96u));
        i += 128u;
        if i >= splits {
            break;
        }
        v0 = part4(column, i);
        v1 = part4(column, i + 32u);
        v2 = part4(column, i + 64u);
        v3 = part4(column, i + 96u);
    }
    parts[thread] = value;
    workgroupBarrier();
    if thread < 32u && col < step.v_width {
        value = 0.0;
        for (var i = thread; i < 256u; i += 32u) {
            value += parts[i];
        }
        let all = with_sink(group.y, largest, sum);
        arena[step.out + group.x * step.out_stride + group.y * step.out_head + col] = value / all;
    }
}
