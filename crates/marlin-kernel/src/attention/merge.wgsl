// Merges the splits of attention: out = sum_i e^(max_i - max) acc_i / sum_i e^(max_i - max) sum_i.
//
// grid: x = rows, y = heads, z = ceil(v_width / 32). A workgroup takes 32 columns of one pair; 8 threads of a
// column take every eighth split each:
//
//   thread     0  1  ..  31 | 32 ..   63 | 64 ..   95 | ..
//   column     0  1  ..  31 |  0 ..   31 |  0 ..   31 | ..
//   splits     0 8 16 24 .. | 1 9 17 ..  | 2 10 18 .. | ..
//
// At most 1024 splits. Step: the one of the attention shader, whose scratch it reads once.
//#import attention/tile

const MOST_SPLITS: u32 = 1024u;
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
    let first = first_split(group.x, group.y, splits, pairs);
    var largest = LOWEST;
    for (var i = thread; i < splits; i += 256u) {
        largest = max(largest, scratch[4u + 2u * (first + i * pairs)]);
    }
    largest = subgroupMax(largest);
    if lane == 0u {
        parts[subgroup] = largest;
    }
    workgroupBarrier();
    for (var i = 0u; i < subgroups; i += 1u) {
        largest = max(largest, parts[i]);
    }
    workgroupBarrier();
    var sum = 0.0;
    for (var i = thread; i < splits; i += 256u) {
        let part = scratch[5u + 2u * (first + i * pairs)];
        let weight = select(0.0, exp(scratch[4u + 2u * (first + i * pairs)] - largest), part > 0.0);
        weights[i] = weight;
        sum += weight * part;
    }
    sum = subgroupAdd(sum);
    if lane == 0u {
        parts[subgroup] = sum;
    }
    workgroupBarrier();
    sum = 0.0;
    for (var i = 0u; i < subgroups; i += 1u) {
        sum += parts[i];
    }
    workgroupBarrier();

    let col = group.z * 32u + thread % 32u;
    let accumulators = 4u + bitcast<u32>(scratch[2]) * 2u;
    var at = accumulators + (first + thread / 32u * pairs) * step.v_width + min(col, step.v_width - 1u);
    var value = 0.0;
    for (var i = thread / 32u; i < splits; i += 8u) {
        // Loaded even where nothing was stored, so that loads need not wait for each other.
        let part = scratch[at];
        value += select(0.0, weights[i] * part, weights[i] > 0.0);
        at += 8u * pairs * step.v_width;
    }
    parts[thread] = value;
    workgroupBarrier();
    if thread < 32u && col < step.v_width {
        value = 0.0;
        for (var i = thread; i < 256u; i += 32u) {
            value += parts[i];
        }
        arena[step.out + group.x * step.out_stride + group.y * step.out_head + col] = value / sum;
    }
}
