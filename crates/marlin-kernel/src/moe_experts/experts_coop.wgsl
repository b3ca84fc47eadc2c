// The experts for many rows with cooperative matrices, a tile of pairs of one expert at a time: f16
// operands, f32 sums. Needs subgroups of 32 lanes. Two dispatches, after `moe_sort` and `experts_halves`:
//
//   PART 0    activation(gate x) * (up x), as halves     grid: x = ceil(inner / (4 TILE)), y = most_tiles
//   PART 1    down of that, as f32; `combine` follows    grid: x = ceil(outs / (8 TILE)), y = most_tiles
//
//                8 TILE weight rows: PART 0 has 4 TILE of gate, the same 4 TILE of up
//             +----+----+----+----+
//   64 pairs  | s0 | s1 | s0 | s1 |    a subgroup: 32 pairs, 2 matrices wide left and 2 right; K a block
//             +----+----+----+----+    (32 columns) at a time: x copied, the weight decoded to f16 while
//             | s2 | s3 | s2 | s3 |    the block before is multiplied
//             +----+----+----+----+
//
// Gate and up share format and slab (else `experts_tile`). 128 threads. Slots: `tile`, `cells`.
// Moves x once for 8 TILE weight rows, a chosen expert's weights once for 64 of its pairs.

//#import tile
//#import cells
//#import moe_experts/expert
//#import moe_experts/halves
//#import weights
//#import gated_mul/activation
//#import moe_experts/stage

const AREA: u32 = TILE * TILE;

var<workgroup> outs: array<f32, 8u * AREA>;

// Where results go: the tile, and the corner of a matrix in it.
struct Target {
    rows: u32,
    expert: u32,
    first: u32,
    count: u32,
    row: u32,
    out: u32,
    lane: u32,
    area: u32,
}

fn pair_of(first: u32, at: u32) -> u32 {
    return scratch[(first + at) / 4u][(first + at) % 4u];
}

fn four(at: u32) -> vec4<f32> {
    return vec4<f32>(outs[at], outs[at + 1u], outs[at + 2u], outs[at + 3u]);
}

fn gated(t: Target, at: u32, col: u32) -> vec4<f32> {
    let gate = tensor_scale_of(t.expert, GATE) * four(at);
    let up = tensor_scale_of(t.expert, UP) * four(at + AREA);
    var value = vec4<f32>(0.0);
    for (var i = 0u; i < 4u; i += 1u) {
        // Columns beyond the last are read with weights of zero: they must be numbers.
        let own = min(col + i, step.inner - 1u);
        let x = gate[i] + bias_of(t.expert, GATE, own);
        let y = up[i] + bias_of(t.expert, UP, own);
        value[i] = select(0.0, activate(step.activation, step.limit, x, y), col + i < step.inner);
    }
    return value;
}

// The biases of four outputs of down; of those beyond the last, the last's.
fn biases(t: Target, col: u32) -> vec4<f32> {
    var values = vec4<f32>(0.0);
    for (var i = 0u; i < select(0u, 4u, step.biased == 1u); i += 1u) {
        values[i] = bias_of(t.expert, DOWN, min(col + i, step.outs - 1u));
    }
    return values;
}

// Writes a matrix of the left and one of the right half: gate and up of the same, or two of down.
fn store(left: MatrixC, right: MatrixC, t: Target) {
    let area = t.area;
    let next = area + AREA;
    workgroupBarrier();
    coopStoreT(left, &outs[area], TILE);
    coopStoreT(right, &outs[next], TILE);
    workgroupBarrier();
    if PART == 0u {
        for (var i = t.lane; i < AREA / 8u; i += 32u) {
            let row = t.row + 8u * i / TILE;
            let col = t.out + 8u * i % TILE;
            if row < t.count && col < step.inner_blocks * 32u {
                let at = inner_at(t.rows) + pair_of(t.first, row) * step.inner_blocks * 4u + col / 8u;
                scratch[at] = close(gated(t, area + 8u * i, col), gated(t, area + 8u * i + 4u, col + 4u));
            }
        }
        return;
    }
    let scale = tensor_scale_of(t.expert, DOWN);
    for (var i = t.lane; i < AREA / 2u; i += 32u) {
        let half = i / (AREA / 4u);
        let quad = i % (AREA / 4u);
        let row = t.row + 4u * quad / TILE;
        let col = t.out + half * 4u * TILE + 4u * quad % TILE;
        if row < t.count && col < step.outs {
            let at = sums_at(t.rows) + pair_of(t.first, row) * sum_vectors() + col / 4u;
            scratch[at] = bitcast<vec4<u32>>(scale * four(area + half * AREA + 4u * quad) + biases(t, col));
        }
    }
}

var<workgroup> tile_word: vec4<u32>;

// Expert, place of the first pair, pairs; none for a workgroup without work.
fn own_tile(index: u32, rows: u32) -> vec4<u32> {
    var tile = vec4<u32>(0u);
    if index < scratch[0].x {
        tile = scratch[tiles_at(rows) / 4u + index];
    }
    tile.z = select(0u, tile.z, is_here(tile.x, PART * DOWN));
    return tile;
}

@compute @workgroup_size(128)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    load_codebook(local);
    let rows = batch[step.rows_of];
    // Matrix operations ask that all threads go the same way, in the eyes of the language too.
    if local == 0u {
        tile_word = own_tile(group.y, rows);
    }
    let tile = workgroupUniformLoad(&tile_word);
    if tile.z == 0u {
        return;
    }
    let first = 4u + tile.y;
    let pair0 = pair_of(first, min(local / 4u, tile.z - 1u));
    let pair1 = pair_of(first, min(local / 4u + 32u, tile.z - 1u));
    let w = local / (4u / W_EIGHTHS);
    var place = Place(local, local % 4u, local % 4u, 0u, 0u, step.shift);
    var out0 = group.x * SIDE;
    var blocks = step.inner_blocks;
    if PART == 0u {
        out0 = group.x * 4u * TILE;
        blocks = step.blocks;
        place.x0 += x_at(rows) + (pair0 / step.slots) * blocks * 4u;
        place.x1 += x_at(rows) + (pair1 / step.slots) * blocks * 4u;
        let row = min(out0 + w % (4u * TILE), step.inner - 1u);
        place.codes = codes_of(tile.x, w / (4u * TILE)) + row * blocks;
        place.scales = scales_of(tile.x, w / (4u * TILE)) + row * step.groups;
    } else {
        place.x0 += inner_at(rows) + pair0 * blocks * 4u;
        place.x1 += inner_at(rows) + pair1 * blocks * 4u;
        let row = min(out0 + w, step.outs - 1u);
        place.codes = codes_of(tile.x, DOWN) + row * blocks;
        place.scales = scales_of(tile.x, DOWN) + row * step.inner_groups;
        place.shift = step.inner_shift;
    }
    let top = (subgroup / 2u) * 32u;
    let left = TILE_ROWS + (subgroup % 2u) * 2u * TILE;
    var c00: MatrixC; var c01: MatrixC; var c02: MatrixC; var c03: MatrixC;
    var c10: MatrixC; var c11: MatrixC; var c12: MatrixC; var c13: MatrixC;
    var c20: MatrixC; var c21: MatrixC; var c22: MatrixC; var c23: MatrixC;
    var c30: MatrixC; var c31: MatrixC; var c32: MatrixC; var c33: MatrixC;
    var next = load_next(place, 0u);
    for (var block = 0u; block < blocks; block += 1u) {
        let base = (block % 2u) * STAGE;
        put_next(place, next, base);
        workgroupBarrier();
        if block + 1u < blocks {
            next = load_next(place, block + 1u);
        }
        for (var k = 0u; k < 32u; k += TILE) {
            let pitch = PITCH / CELL;
            let down = TILE * pitch;
            let x = (base + top * PITCH + k) / CELL;
            let l = (base + left * PITCH + k) / CELL;
            let r = l + 4u * down;
            let b0 = coopLoad<MatrixB>(&halves[l], pitch);
            let b1 = coopLoad<MatrixB>(&halves[l + down], pitch);
            let b2 = coopLoad<MatrixB>(&halves[r], pitch);
            let b3 = coopLoad<MatrixB>(&halves[r + down], pitch);
            let a0 = coopLoadT<MatrixA>(&halves[x], pitch);
            let a1 = coopLoadT<MatrixA>(&halves[x + down], pitch);
            c00 = coopMultiplyAdd(a0, b0, c00);
            c01 = coopMultiplyAdd(a0, b1, c01);
            c02 = coopMultiplyAdd(a0, b2, c02);
            c03 = coopMultiplyAdd(a0, b3, c03);
            c10 = coopMultiplyAdd(a1, b0, c10);
            c11 = coopMultiplyAdd(a1, b1, c11);
            c12 = coopMultiplyAdd(a1, b2, c12);
            c13 = coopMultiplyAdd(a1, b3, c13);
            if TILE == 8u {
                let a2 = coopLoadT<MatrixA>(&halves[x + 2u * down], pitch);
                let a3 = coopLoadT<MatrixA>(&halves[x + 3u * down], pitch);
                c20 = coopMultiplyAdd(a2, b0, c20);
                c21 = coopMultiplyAdd(a2, b1, c21);
                c22 = coopMultiplyAdd(a2, b2, c22);
                c23 = coopMultiplyAdd(a2, b3, c23);
                c30 = coopMultiplyAdd(a3, b0, c30);
                c31 = coopMultiplyAdd(a3, b1, c31);
                c32 = coopMultiplyAdd(a3, b2, c32);
                c33 = coopMultiplyAdd(a3, b3, c33);
            }
        }
    }
    var t = Target(rows, tile.x, first, tile.z, top, out0 + left - TILE_ROWS, lane, subgroup * 2u * AREA);
    store(c00, c02, t);
    t.row += TILE;
    store(c10, c12, t);
    if TILE == 8u {
        t.row += TILE;
        store(c20, c22, t);
        t.row += TILE;
        store(c30, c32, t);
        t.row -= 2u * TILE;
    }
    t.row -= TILE;
    t.out += TILE;
    store(c01, c03, t);
    t.row += TILE;
    store(c11, c13, t);
    if TILE == 8u {
        t.row += TILE;
        store(c21, c23, t);
        t.row += TILE;
        store(c31, c33, t);
    }
}
