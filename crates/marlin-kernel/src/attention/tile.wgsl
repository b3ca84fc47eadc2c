// What the attention shaders share: the step, which queries and positions a workgroup has, where results go.
//
// A pair is one row (token) and one query head. A tile is PAIRS consecutive pairs that read one key/value
// head of one sequence, rows outermost, so that the heads of a group and neighbouring rows share every
// cache row that is loaded:
//
//   one sequence, key/value head k, group = heads / kv_heads = 3, PAIRS = 4
//   pair       0       1       2       3   |   4       5       6       7   |   8  ..
//   row, head  0,3k    0,3k+1  0,3k+2  1,3k|   1,3k+1  1,3k+2  2,3k    2,3k+1 |
//   tile       0                           |   1                           |   2
//
// grid: x = sum over the sequences of ceil(rows * group / PAIRS), y = kv_heads (x column blocks, see the
//       shader), z = splits of the positions (1: results go to `out` at once, no merge follows).
//
// scratch (splits > 1), f32 words, i = ((x * kv_heads + kv_head) * splits + split) * PAIRS + pair of the
// tile, n = tiles * kv_heads * splits * PAIRS:
//   | splits, PAIRS, n (u32), 0 | max and sum of i: 2 n words | accumulators of i: n * v_width words |
// A max of LOWEST and a sum of 0 say that the split saw no position; its accumulators may not be written.
//#import arena
@group(0) @binding(7) var<storage, read_write> scratch: array<f32>;

struct Step {
    // Views of q and out in words: of row 0 and head 0, from row to row, from head to head.
    q: u32,
    q_stride: u32,
    q_head: u32,
    out: u32,
    out_stride: u32,
    out_head: u32,
    heads: u32,
    kv_heads: u32,
    // Columns of a cache row, in values; `cache_stride` is the distance of two rows.
    k_start: u32,
    k_width: u32,
    v_start: u32,
    v_width: u32,
    cache_stride: u32,
    // Positions a token sees, itself included; 0 for all before it.
    window: u32,
    // Multiplied into the scores.
    scale: f32,
    // First word in `vectors` of the heads' sinks, or NONE.
    sinks: u32,
}
@group(0) @binding(0) var<uniform> step: Step;

// Below every score; no infinity, since Metal may compile as if there were none.
const LOWEST: f32 = -3.0e38;
const NONE: u32 = 0xffffffffu;

struct Tile {
    // First row of the sequence in the batch, its rows (0: there is no such tile), its first position.
    first_row: u32,
    rows: u32,
    first_position: u32,
    // Index in `batch` of its page table.
    pages: u32,
    // First pair of the tile, counted in the sequence, and pairs from there to the end of the sequence.
    first_pair: u32,
    pairs: u32,
    // Positions of the tile's split.
    begin: u32,
    end: u32,
}

// First position that a token at `position` sees.
fn first_visible(position: u32) -> u32 {
    return select(0u, position + 1u - min(step.window, position + 1u), step.window > 0u);
}

// The tile of workgroup `x`: the `split`th of `splits` runs of whole blocks of `block` positions.
fn find_tile(x: u32, pairs: u32, block: u32, split: u32, splits: u32) -> Tile {
    let group = step.heads / step.kv_heads;
    let sequences = batch[2];
    var at = batch[9];
    var left = x;
    for (var i = 0u; i < sequences; i += 1u) {
        // All loaded before the first is looked at: the cache rows wait for them.
        let sequence = vec4(batch[at], batch[at + 1u], batch[at + 2u], batch[at + 3u]);
        let all = sequence.y * group;
        let tiles = (all + pairs - 1u) / pairs;
        if left < tiles {
            let first = left * pairs;
            let position = sequence.w;
            let last = min(first + pairs, all) - 1u;
            let seen = first_visible(position + first / group);
            let end = position + last / group + 1u;
            let blocks = (end - seen + block - 1u) / block;
            let run = (blocks + splits - 1u) / splits * block;
            let begin = seen + split * run;
            let to = min(end, begin + run);
            return Tile(sequence.x, sequence.y, position, sequence.z, first, all - first, begin, to);
        }
        left -= tiles;
        at += 4u;
    }
    return Tile();
}

// First value of the cache row of a position.
fn cache_row(tile: Tile, position: u32) -> u32 {
    let page = batch[tile.pages + position / batch[3]];
    return (page * batch[3] + position % batch[3]) * step.cache_stride;
}

// A pair of a tile. Its head is counted over all heads, its row over the batch.
struct Pair {
    valid: bool,
    row: u32,
    head: u32,
    position: u32,
}

fn find_pair(tile: Tile, kv_head: u32, pair: u32) -> Pair {
    let group = step.heads / step.kv_heads;
    // A tile's last pairs may be past the sequence's: they repeat its last one, and are not stored.
    let index = tile.first_pair + min(pair, tile.pairs - 1u);
    let row = index / group;
    let head = kv_head * group + index % group;
    return Pair(pair < tile.pairs, tile.first_row + row, head, tile.first_position + row);
}

fn visible(pair: Pair, position: u32) -> bool {
    return position <= pair.position && position >= first_visible(pair.position);
}

// Where the results of a tile's pairs go.
struct Output {
    // `i` of its first pair in scratch, n of scratch, and how many splits there are.
    first: u32,
    all: u32,
    splits: u32,
}

fn output_of(workgroup: vec3<u32>, workgroups: vec3<u32>, kv_head: u32, pairs: u32) -> Output {
    let first = ((workgroup.x * step.kv_heads + kv_head) * workgroups.z + workgroup.z) * pairs;
    return Output(first, workgroups.x * step.kv_heads * workgroups.z * pairs, workgroups.z);
}

// First word of a pair's accumulators in scratch.
fn accumulator(output: Output, pair: u32) -> u32 {
    return 4u + 2u * output.all + (output.first + pair) * step.v_width;
}

// The sum of a head's weights, which are relative to `largest`, and of its sink's. Held where exp does not
// overflow: the values of a head are 0 beyond.
fn with_sink(head: u32, largest: f32, sum: f32) -> f32 {
    if step.sinks == NONE {
        return sum;
    }
    return sum + exp(min(vectors[step.sinks + head] - largest, 80.0));
}

// Stores one value column of pair `at` of the tile: divided by the sum of weights, or for the merge.
fn store_value(output: Output, at: u32, pair: Pair, col: u32, value: f32, sum: f32) {
    if !pair.valid || col >= step.v_width {
        return;
    }
    if output.splits == 1u {
        arena[step.out + pair.row * step.out_stride + pair.head * step.out_head + col] = value / sum;
    } else {
        scratch[accumulator(output, at) + col] = value;
    }
}

// Stores the largest score and the sum of weights of pair `at` of the tile for the merge.
fn store_sum(output: Output, at: u32, pairs: u32, largest: f32, sum: f32) {
    if output.splits == 1u {
        return;
    }
    if output.first + at == 0u {
        scratch[0] = bitcast<f32>(output.splits);
        scratch[1] = bitcast<f32>(pairs);
        scratch[2] = bitcast<f32>(output.all);
    }
    scratch[4u + 2u * (output.first + at)] = largest;
    scratch[5u + 2u * (output.first + at)] = sum;
}
