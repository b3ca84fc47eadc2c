// Attention in f32 for any widths: PAIRS queries against 64 positions at a time, softmax kept online.
//
// PAIRS: a multiple of 4, at most 20. Slot `cache`: one of shader/cache. Step, grid, scratch: attention/tile;
// y of the grid = kv_heads * ceil(v_width / 512), column blocks innermost.
//
//   scores [PAIRS x 64 positions]: 64 columns of q and K a round in workgroup memory (f32), the next ones on
//     their way in registers; thread = position + 64 * part, a part is a quarter of the pairs
//   softmax: 8 threads a pair, 8 positions each
//   values [PAIRS x 512 columns]: `lanes` threads side by side own 4 columns each and read V from the cache
//     once; the 256 / lanes rows of threads take every (256 / lanes)th position, and are added at the end
//
// What a thread keeps has names instead of indices: compilers put arrays that they do not unroll in memory.
// Reads a tile's keys and values once for PAIRS pairs; 2 (k_width + v_width) operations a pair and position.
//#import attention/tile
//#import attention/quads
//#import cache

const POSITIONS: u32 = 64u;
const QUADS: u32 = PAIRS / 4u;
// vec4 words of 64 columns of a key; one more keeps the rows in different banks.
const KEY: u32 = 17u;
// Words of a pair's weights; 64 and 8 more for the banks.
const WEIGHTS: u32 = 72u;

var<workgroup> pairs: array<Pair, PAIRS>;
var<workgroup> keys: array<vec4<f32>, POSITIONS * KEY>;
var<workgroup> queries: array<vec4<f32>, PAIRS * 16u>;
var<workgroup> weights: array<f32, PAIRS * WEIGHTS>;
var<workgroup> rows: array<u32, POSITIONS>;
var<workgroup> parts: array<f32, 256>;
var<workgroup> factors: array<f32, PAIRS>;

// Word `word` (four columns) of the query of a pair; 0 past its width and past the pairs.
fn query(pair: u32, word: u32) -> vec4<f32> {
    var values = vec4<f32>();
    if pair >= PAIRS {
        return values;
    }
    let at = step.q + pairs[pair].row * step.q_stride + pairs[pair].head * step.q_head + word * 4u;
    let valid = step.k_width - min(word * 4u, step.k_width);
    if valid > 0u { values.x = arena[at]; }
    if valid > 1u { values.y = arena[at + 1u]; }
    if valid > 2u { values.z = arena[at + 2u]; }
    if valid > 3u { values.w = arena[at + 3u]; }
    return values;
}

// Word `word` of the key of position `i` of this round.
fn key(kv_head: u32, i: u32, word: u32) -> vec4<f32> {
    let valid = step.k_width - min(word * 4u, step.k_width);
    return cached(rows[i] + step.k_start + kv_head * step.k_width + word * 4u, valid);
}

// Word `i` of the query that is part `part`'s `j`th.
fn staged(part: u32, j: u32, i: u32) -> vec4<f32> {
    return queries[(part * QUADS + j) * 16u + i];
}

// The softmax of a round: weights from scores, and what has been added up before scaled to the new maximum.
fn softmax(
    own: u32, begin: u32, count: u32, thread: u32, largest: ptr<function, f32>, sum: ptr<function, f32>,
) {
    var high = *largest;
    for (var i = thread % 8u; i < count; i += 8u) {
        if visible(pairs[own], begin + i) {
            high = max(high, weights[own * WEIGHTS + i]);
        }
    }
    parts[thread] = high;
    workgroupBarrier();
    for (var i = 0u; i < 8u; i += 1u) {
        high = max(high, parts[thread / 8u * 8u + i]);
    }
    let factor = exp(*largest - high);
    *largest = high;
    *sum *= factor;
    if thread / 8u >= PAIRS {
        return;
    }
    if thread % 8u == 0u {
        factors[own] = factor;
    }
    for (var i = thread % 8u; i < POSITIONS; i += 8u) {
        var weight = 0.0;
        if i < count && visible(pairs[own], begin + i) {
            weight = exp(weights[own * WEIGHTS + i] - high);
        }
        weights[own * WEIGHTS + i] = weight;
        *sum += weight;
    }
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let tile = find_tile(workgroup.x, PAIRS, POSITIONS, workgroup.z, workgroups.z);
    if tile.rows == 0u {
        return;
    }
    let blocks = (step.v_width + 511u) / 512u;
    let kv_head = workgroup.y / blocks;
    let first_col = workgroup.y % blocks * 512u;
    let output = output_of(workgroup, workgroups, kv_head, PAIRS);
    if thread < PAIRS {
        pairs[thread] = find_pair(tile, kv_head, thread);
    }
    var lanes = 16u;
    while lanes < 128u && lanes * 4u < step.v_width - first_col {
        lanes *= 2u;
    }
    let col = first_col + thread % lanes * 4u;
    let valid = step.v_width - min(step.v_width, col);
    let value_at = step.v_start + kv_head * step.v_width + col;
    let value_row = thread / lanes;
    let value_rows = 256u / lanes;

    // In the scores this thread has one position and a part of the pairs, and stages a word of 4 positions;
    let at = thread % POSITIONS;
    let part = thread / POSITIONS;
    let row = thread / 16u;
    let word = thread % 16u;
    // in the softmax it has every 8th position of one pair.
    let own = min(thread / 8u, PAIRS - 1u);
    var largest = LOWEST;
    var sum = 0.0;
    var a0 = mat4x4<f32>();
    var a1 = mat4x4<f32>();
    var a2 = mat4x4<f32>();
    var a3 = mat4x4<f32>();
    var a4 = mat4x4<f32>();

    for (var begin = tile.begin; begin < tile.end; begin += POSITIONS) {
        let count = min(POSITIONS, tile.end - begin);
        if thread < POSITIONS {
            rows[thread] = cache_row(tile, begin + min(thread, count - 1u));
        }
        workgroupBarrier();
        var s0 = 0.0;
        var s1 = 0.0;
        var s2 = 0.0;
        var s3 = 0.0;
        var s4 = 0.0;
        var k0 = key(kv_head, row, word);
        var k1 = key(kv_head, row + 16u, word);
        var k2 = key(kv_head, row + 32u, word);
        var k3 = key(kv_head, row + 48u, word);
        var q0 = query(row, word);
        var q1 = query(row + 16u, word);
        for (var first = 0u; first * 4u < step.k_width; first += 16u) {
            keys[row * KEY + word] = k0;
            keys[(row + 16u) * KEY + word] = k1;
            keys[(row + 32u) * KEY + word] = k2;
            keys[(row + 48u) * KEY + word] = k3;
            if row < PAIRS { queries[row * 16u + word] = q0; }
            if row + 16u < PAIRS { queries[(row + 16u) * 16u + word] = q1; }
            workgroupBarrier();
            k0 = key(kv_head, row, first + 16u + word);
            k1 = key(kv_head, row + 16u, first + 16u + word);
            k2 = key(kv_head, row + 32u, first + 16u + word);
            k3 = key(kv_head, row + 48u, first + 16u + word);
            q0 = query(row, first + 16u + word);
            q1 = query(row + 16u, first + 16u + word);
            for (var i = 0u; i < 16u; i += 1u) {
                let values = keys[at * KEY + i];
                s0 += dot(values, staged(part, 0u, i));
                if QUADS > 1u { s1 += dot(values, staged(part, 1u, i)); }
                if QUADS > 2u { s2 += dot(values, staged(part, 2u, i)); }
                if QUADS > 3u { s3 += dot(values, staged(part, 3u, i)); }
                if QUADS > 4u { s4 += dot(values, staged(part, 4u, i)); }
            }
            workgroupBarrier();
        }
        let score = part * QUADS * WEIGHTS + at;
        weights[score] = s0 * step.scale;
        if QUADS > 1u { weights[score + WEIGHTS] = s1 * step.scale; }
        if QUADS > 2u { weights[score + 2u * WEIGHTS] = s2 * step.scale; }
        if QUADS > 3u { weights[score + 3u * WEIGHTS] = s3 * step.scale; }
        if QUADS > 4u { weights[score + 4u * WEIGHTS] = s4 * step.scale; }
        workgroupBarrier();

        softmax(own, begin, count, thread, &largest, &sum);
        workgroupBarrier();

        a0 = scaled(0u, a0);
        if QUADS > 1u { a1 = scaled(1u, a1); }
        if QUADS > 2u { a2 = scaled(2u, a2); }
        if QUADS > 3u { a3 = scaled(3u, a3); }
        if QUADS > 4u { a4 = scaled(4u, a4); }
        for (var i = value_row; i < count; i += 4u * value_rows) {
            // Four loads at once. Positions past the last have the row of the last, and weights of 0.
            let v0 = cached(rows[i] + value_at, valid);
            let v1 = cached(rows[i + value_rows] + value_at, valid);
            let v2 = cached(rows[i + 2u * value_rows] + value_at, valid);
            let v3 = cached(rows[i + 3u * value_rows] + value_at, valid);
            a0 += weighted(0u, i, value_rows, v0, v1, v2, v3);
            if QUADS > 1u { a1 += weighted(1u, i, value_rows, v0, v1, v2, v3); }
            if QUADS > 2u { a2 += weighted(2u, i, value_rows, v0, v1, v2, v3); }
            if QUADS > 3u { a3 += weighted(3u, i, value_rows, v0, v1, v2, v3); }
            if QUADS > 4u { a4 += weighted(4u, i, value_rows, v0, v1, v2, v3); }
        }
        workgroupBarrier();
    }

    parts[thread] = sum;
    workgroupBarrier();
    sum = 0.0;
    for (var i = 0u; i < 8u; i += 1u) {
        sum += parts[thread / 8u * 8u + i];
    }
    if thread % 8u == 0u && thread / 8u < PAIRS {
        factors[own] = with_sink(pairs[own].head, largest, sum);
        if first_col == 0u {
            store_sum(output, own, PAIRS, largest, sum);
        }
    }
    if tile.begin >= tile.end {
        return;
    }
    let side = Lanes(thread, col, lanes);
    store_quad(0u, a0, output, side);
    if QUADS > 1u { store_quad(1u, a1, output, side); }
    if QUADS > 2u { store_quad(2u, a2, output, side); }
    if QUADS > 3u { store_quad(3u, a3, output, side); }
    if QUADS > 4u { store_quad(4u, a4, output, side); }
}
