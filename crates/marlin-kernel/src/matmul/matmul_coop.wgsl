// Products of many rows with cooperative matrices: f16 operands, f32 sums. Needs subgroups of 32 lanes.
//
// grid: x = sum over products of ceil(outs / (8 TILE)), y = ceil(rows / (8 TILE)), z = heads; 128 threads.
//
//                 8 TILE outputs
//              +---------+---------+
//   8 TILE     | sub 0   | sub 1   |      a subgroup: 4 x 4 matrices; K a block (32 columns) at a time:
//   rows       +---------+---------+      x copied, the weight decoded to f16 into workgroup memory while
//              | sub 2   | sub 3   |      the block before is multiplied
//              +---------+---------+
//
// x comes from `scratch`, where `convert` has put it. Slots: `tile`, `cells`.
// 24 KiB of workgroup memory (TILE 16): an H100 holds two such workgroups at a time, and only one of 26 KiB.
// Moves x once for 8 TILE outputs, the weight once for 8 TILE rows; two operations for each weight and row.

//#import tile
//#import cells
//#import matmul/products
@group(0) @binding(7) var<storage, read_write> scratch: array<vec4<f16>>;

const SIDE: u32 = 8u * TILE;
// Halves from row to row of a block: rows of 16 bytes of a matrix lie in different banks.
const PITCH: u32 = 40u;
// Halves of a block of x; those of the weight follow.
const BLOCK: u32 = SIDE * PITCH;
// Quads of x, eighths of weights a thread moves for each block.
const X_QUADS: u32 = SIDE * 8u / 128u;
const W_EIGHTHS: u32 = SIDE * 4u / 128u;

var<workgroup> halves: array<Cell, 2u * BLOCK / CELL>;
var<workgroup> outs: array<f32, 4u * TILE * TILE>;

// What a thread holds of the next block: x, and 8 W_EIGHTHS columns of one row of the weight.
struct Next {
    x: array<vec4<f16>, X_QUADS>,
    codes: Codes,
    scales: Scales,
}

// Where a thread works: rows and outputs of the workgroup, its row of the weight.
struct Place {
    local: u32,
    row: u32,
    last_row: u32,
    // Quads from row to row of `scratch`, quads before the head's.
    x_stride: u32,
    x_head: u32,
    w_codes: u32,
    w_scales: u32,
    w_eighth: u32,
}

fn load_next(place: Place, block: u32) -> Next {
    var next: Next;
    for (var i = 0u; i < X_QUADS; i += 1u) {
        let at = i * 128u + place.local;
        let row = min(place.row + at / 8u, place.last_row);
        next.x[i] = scratch[row * place.x_stride + place.x_head + block * 8u + (at & 7u)];
    }
    next.codes = load_codes(place.w_codes + block);
    next.scales = load_scales(place.w_scales, block, step.shift);
    return next;
}

fn put_next(place: Place, next: Next) {
    for (var i = 0u; i < X_QUADS; i += 1u) {
        let at = i * 128u + place.local;
        put((at / 8u) * PITCH + 4u * (at & 7u), next.x[i]);
    }
    let row = BLOCK + (place.local / (4u / W_EIGHTHS)) * PITCH;
    for (var i = 0u; i < W_EIGHTHS; i += 1u) {
        let eighth = place.w_eighth + i;
        let w = weights8(next.codes, next.scales, eighth);
        put(row + 8u * eighth, vec4<f16>(w.low));
        put(row + 8u * eighth + 4u, vec4<f16>(w.high));
    }
}

// Writes one matrix of results, its corner at (row, out), through workgroup memory.
fn store_matrix(c: MatrixC, product: Product, corner: vec2<u32>, head: u32, rows: u32, lane: u32, area: u32) {
    workgroupBarrier();
    coopStoreT(c, &outs[area], TILE);
    workgroupBarrier();
    for (var i = lane; i < TILE * TILE; i += 32u) {
        let row = corner.x + i / TILE;
        let out = corner.y + i % TILE;
        if row < rows && out < product.outs {
            store_out(product, row, head, out, outs[area + i]);
        }
    }
}

// Writes four matrices side by side, the first at word `to` of the arena.
fn store_row(c0: MatrixC, c1: MatrixC, c2: MatrixC, c3: MatrixC, product: Product, to: u32) {
    let stride = product.out_stride;
    let d0 = scaled(c0, product.tensor_scale);
    let d1 = scaled(c1, product.tensor_scale);
    let d2 = scaled(c2, product.tensor_scale);
    let d3 = scaled(c3, product.tensor_scale);
    let to1 = to + TILE;
    let to2 = to + 2u * TILE;
    let to3 = to + 3u * TILE;
    coopStoreT(d0, &arena[to], stride);
    coopStoreT(d1, &arena[to1], stride);
    coopStoreT(d2, &arena[to2], stride);
    coopStoreT(d3, &arena[to3], stride);
}

@compute @workgroup_size(128)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    load_codebook(local);
    let rows = batch[step.rows_of];
    let row0 = group.y * SIDE;
    if row0 >= rows {
        return;
    }
    let product = product_at(group.x);
    let out0 = (group.x - product.first) * SIDE;
    let w_row = group.z * product.outs + min(out0 + local / (4u / W_EIGHTHS), product.outs - 1u);
    let x_stride = groups.z * step.blocks * 8u;
    let place = Place(
        local, row0, rows - 1u, x_stride, group.z * step.blocks * 8u,
        product.codes + w_row * step.blocks, product.scales + w_row * step.groups,
        (local % (4u / W_EIGHTHS)) * W_EIGHTHS,
    );
    let top = (subgroup / 2u) * 4u * TILE;
    let left = (subgroup % 2u) * 4u * TILE;
    var c00: MatrixC; var c01: MatrixC; var c02: MatrixC; var c03: MatrixC;
    var c10: MatrixC; var c11: MatrixC; var c12: MatrixC; var c13: MatrixC;
    var c20: MatrixC; var c21: MatrixC; var c22: MatrixC; var c23: MatrixC;
    var c30: MatrixC; var c31: MatrixC; var c32: MatrixC; var c33: MatrixC;
    var next = load_next(place, 0u);
    for (var block = 0u; block < step.blocks; block += 1u) {
        workgroupBarrier();
        put_next(place, next);
        workgroupBarrier();
        if block + 1u < step.blocks {
            next = load_next(place, block + 1u);
        }
        for (var k = 0u; k < 32u; k += TILE) {
            let x = (top * PITCH + k) / CELL;
            let w = (BLOCK + left * PITCH + k) / CELL;
            let pitch = PITCH / CELL;
            let down = TILE * pitch;
            let a0 = coopLoadT<MatrixA>(&halves[x], pitch);
            let a1 = coopLoadT<MatrixA>(&halves[x + down], pitch);
            let a2 = coopLoadT<MatrixA>(&halves[x + 2u * down], pitch);
            let a3 = coopLoadT<MatrixA>(&halves[x + 3u * down], pitch);
            let b0 = coopLoad<MatrixB>(&halves[w], pitch);
            let b1 = coopLoad<MatrixB>(&halves[w + down], pitch);
            let b2 = coopLoad<MatrixB>(&halves[w + 2u * down], pitch);
            let b3 = coopLoad<MatrixB>(&halves[w + 3u * down], pitch);
            c00 = coopMultiplyAdd(a0, b0, c00);
            c01 = coopMultiplyAdd(a0, b1, c01);
            c02 = coopMultiplyAdd(a0, b2, c02);
            c03 = coopMultiplyAdd(a0, b3, c03);
            c10 = coopMultiplyAdd(a1, b0, c10);
            c11 = coopMultiplyAdd(a1, b1, c11);
            c12 = coopMultiplyAdd(a1, b2, c12);
            c13 = coopMultiplyAdd(a1, b3, c13);
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
    let full = row0 + SIDE <= rows && out0 + SIDE <= product.outs;
    if SCALES && full && product.bias == NONE && product.accumulate == 0u {
        let to = product.out + (row0 + top) * product.out_stride + group.z * step.out_head + out0 + left;
        store_row(c00, c01, c02, c03, product, to);
        store_row(c10, c11, c12, c13, product, to + TILE * product.out_stride);
        store_row(c20, c21, c22, c23, product, to + 2u * TILE * product.out_stride);
        store_row(c30, c31, c32, c33, product, to + 3u * TILE * product.out_stride);
        return;
    }
    let area = subgroup * TILE * TILE;
    let at = vec2<u32>(row0 + top, out0 + left);
    store_matrix(c00, product, at + TILE * vec2<u32>(0u, 0u), group.z, rows, lane, area);
    store_matrix(c01, product, at + TILE * vec2<u32>(0u, 1u), group.z, rows, lane, area);
    store_matrix(c02, product, at + TILE * vec2<u32>(0u, 2u), group.z, rows, lane, area);
    store_matrix(c03, product, at + TILE * vec2<u32>(0u, 3u), group.z, rows, lane, area);
    store_matrix(c10, product, at + TILE * vec2<u32>(1u, 0u), group.z, rows, lane, area);
    store_matrix(c11, product, at + TILE * vec2<u32>(1u, 1u), group.z, rows, lane, area);
    store_matrix(c12, product, at + TILE * vec2<u32>(1u, 2u), group.z, rows, lane, area);
    store_matrix(c13, product, at + TILE * vec2<u32>(1u, 3u), group.z, rows, lane, area);
    store_matrix(c20, product, at + TILE * vec2<u32>(2u, 0u), group.z, rows, lane, area);
    store_matrix(c21, product, at + TILE * vec2<u32>(2u, 1u), group.z, rows, lane, area);
    store_matrix(c22, product, at + TILE * vec2<u32>(2u, 2u), group.z, rows, lane, area);
    store_matrix(c23, product, at + TILE * vec2<u32>(2u, 3u), group.z, rows, lane, area);
    store_matrix(c30, product, at + TILE * vec2<u32>(3u, 0u), group.z, rows, lane, area);
    store_matrix(c31, product, at + TILE * vec2<u32>(3u, 1u), group.z, rows, lane, area);
    store_matrix(c32, product, at + TILE * vec2<u32>(3u, 2u), group.z, rows, lane, area);
    store_matrix(c33, product, at + TILE * vec2<u32>(3u, 3u), group.z, rows, lane, area);
}
