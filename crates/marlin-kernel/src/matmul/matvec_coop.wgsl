// Products of 2 to 16 rows with cooperative matrices: f16 operands, f32 sums. Needs subgroups of 32 lanes
// and matrices of 16 x 16.
//
// grid: x = sum over products of ceil(outs / (64 / SPLIT)), y = ceil(rows / 16), z = heads; 64 SPLIT threads.
// SPLIT (1, 2): PARTS = 2 SPLIT subgroups share TILES = 4 / SPLIT times 16 weight rows, each takes every
// PARTS-th chunk of 4 blocks of their columns, and their sums are added at the end. 2 below ~30k outs.
//
//                chunk of 128 columns              x: 16 rows, f16, as matrices in `scratch`
//              +------+------+------+------+             +------+
//   16 TILES   |      |      |      |      |          K  |      |
//   weight     | 4 rounds of 32 columns    |      x      |      |   =   TILES sums of 16 x 16
//   rows       |      |      |      |      |             +------+
//              +------+------+------+------+
//
// Round r takes the columns 8r..8r+7 of the chunk's 4 blocks, so that a lane, which holds whole blocks of two
// rows of each tile, has work in all rounds; `convert_tiles` puts x into the same order. Decoded weights pass
// through workgroup memory, 1280 bytes a tile: 4 blocks and 4 rows of 8 bytes, written at a time by 16 lanes,
// lie in different banks, and so do 8 rows of 16 bytes that a matrix is read by.
//
// Slots: `halves`, `format`. 11 KiB of workgroup memory.
// Moves the weight once for 16 rows, x once for 16 TILES weight rows; two operations for each weight and row.

//#import matmul/tile16
//#import halves
//#import matmul/products
@group(0) @binding(7) var<storage, read_write> scratch: array<vec4<f16>>;

const TILES: u32 = 4u / SPLIT;
const PARTS: u32 = 2u * SPLIT;
// Blocks of a chunk; quads of halves of the x of one, 8 matrices.
const CHUNK: u32 = 4u;
const X_QUADS: u32 = 512u;
// Quads from row to row of a round's weights; of a tile; of a subgroup.
const PITCH: u32 = 10u;
const AREA: u32 = 16u * PITCH;
const SLAB: u32 = TILES * AREA;

var<workgroup> slabs: array<vec4<f16>, PARTS * SLAB>;
var<workgroup> outs: array<f32, 256>;

// A block of two neighbouring rows of a tile.
struct Held {
    codes: array<Codes, 2>,
    scales: array<Scales, 2>,
}

// Where a lane works.
struct Place {
    // The head's first block and first scale of the weight.
    codes: u32,
    scales: u32,
    // Its first row in tile 0, rows of the head; its block of a chunk.
    row: u32,
    outs: u32,
    block: u32,
    // Its quad in tile 0 of the subgroup's slab.
    slab: u32,
}

fn load_tile(place: Place, tile: u32, chunk: u32) -> Held {
    var held: Held;
    let block = min(chunk * CHUNK + place.block, step.blocks - 1u);
    for (var i = 0u; i < 2u; i += 1u) {
        let row = min(place.row + tile * 16u + i, place.outs - 1u);
        held.codes[i] = load_codes(place.codes + row * step.blocks + block);
        held.scales[i] = load_scales(place.scales + row * step.groups, block, step.shift);
    }
    return held;
}

fn put_tile(place: Place, tile: u32, held: Held, round: u32) {
    for (var i = 0u; i < 2u; i += 1u) {
        let w = halves8(held.codes[i], held.scales[i], round);
        let to = place.slab + tile * AREA + i * PITCH;
        slabs[to] = w.low;
        slabs[to + CHUNK] = w.high;
    }
}

fn put_tiles(place: Place, h0: Held, h1: Held, h2: Held, h3: Held, round: u32) {
    put_tile(place, 0u, h0, round);
    put_tile(place, 1u, h1, round);
    if TILES == 4u {
        put_tile(place, 2u, h2, round);
        put_tile(place, 3u, h3, round);
    }
}

// Adds what a round gives to the sums of one tile, whose weights begin at quad `at`.
fn multiply(sums: MatrixC, at: u32, x0: MatrixB, x1: MatrixB) -> MatrixC {
    let pitch = PITCH;
    let next = at + 4u;
    let a0 = coopLoadT<MatrixA>(&slabs[at], pitch);
    let a1 = coopLoadT<MatrixA>(&slabs[next], pitch);
    return coopMultiplyAdd(a1, x1, coopMultiplyAdd(a0, x0, sums));
}

// Sums of a tile, of weight rows from `first`, leave one subgroup after the other.
fn store_tile(sums: MatrixC, product: Product, first: u32, group: vec3<u32>, subgroup: u32, local: u32) {
    // Columns of the sums are rows of x; the first 64 threads take four weight rows of one each.
    let at = 4u * (local % 64u);
    var sum = vec4<f32>(0.0);
    for (var part = 0u; part < PARTS; part += 1u) {
        if subgroup == part {
            let width = 16u;
            coopStore(sums, &outs[0], width);
        }
        workgroupBarrier();
        sum += vec4<f32>(outs[at], outs[at + 1u], outs[at + 2u], outs[at + 3u]);
        workgroupBarrier();
    }
    let row = group.y * 16u + at / 16u;
    for (var i = 0u; i < 4u; i += 1u) {
        let out = first + at % 16u + i;
        if local < 64u && row < batch[step.rows_of] && out < product.outs {
            store_out(product, row, group.z, out, HALF_UNIT * sum[i]);
        }
    }
}

@compute @workgroup_size(64u * SPLIT)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    load_codebook(local);
    if group.y * 16u >= batch[step.rows_of] {
        return;
    }
    let product = product_at(group.x);
    let first = (group.x - product.first) * 16u * TILES;
    let row = 2u * (lane / CHUNK);
    let head = group.z * product.outs;
    let slab = subgroup * SLAB;
    let place = Place(
        product.codes + head * step.blocks, product.scales + head * step.groups,
        first + row, product.outs, lane % CHUNK, slab + row * PITCH + lane % CHUNK,
    );
    let chunks = (step.blocks + CHUNK - 1u) / CHUNK;
    let panel = (group.y * groups.z + group.z) * chunks;
    let width = 4u;
    var c0: MatrixC; var c1: MatrixC; var c2: MatrixC; var c3: MatrixC;
    // Asked for one turn before they are used.
    var next0 = load_tile(place, 0u, subgroup);
    var next1 = load_tile(place, 1u, subgroup);
    var next2: Held;
    var next3: Held;
    if TILES == 4u {
        next2 = load_tile(place, 2u, subgroup);
        next3 = load_tile(place, 3u, subgroup);
    }
    // All subgroups take as many turns: those without a chunk leave their sums as they are.
    for (var turn = 0u; turn < chunks; turn += PARTS) {
        let mine = turn + subgroup;
        let x = (panel + min(mine, chunks - 1u)) * X_QUADS;
        let at1 = x + 64u;
        let at2 = x + 128u;
        let at3 = x + 192u;
        let at4 = x + 256u;
        let at5 = x + 320u;
        let at6 = x + 384u;
        let at7 = x + 448u;
        let x0 = coopLoad<MatrixB>(&scratch[x], width);
        let x1 = coopLoad<MatrixB>(&scratch[at1], width);
        let x2 = coopLoad<MatrixB>(&scratch[at2], width);
        let x3 = coopLoad<MatrixB>(&scratch[at3], width);
        let x4 = coopLoad<MatrixB>(&scratch[at4], width);
        let x5 = coopLoad<MatrixB>(&scratch[at5], width);
        let x6 = coopLoad<MatrixB>(&scratch[at6], width);
        let x7 = coopLoad<MatrixB>(&scratch[at7], width);
        let held0 = next0;
        let held1 = next1;
        let held2 = next2;
        let held3 = next3;
        next0 = load_tile(place, 0u, mine + PARTS);
        next1 = load_tile(place, 1u, mine + PARTS);
        if TILES == 4u {
            next2 = load_tile(place, 2u, mine + PARTS);
            next3 = load_tile(place, 3u, mine + PARTS);
        }
        var d0 = c0; var d1 = c1; var d2 = c2; var d3 = c3;
        put_tiles(place, held0, held1, held2, held3, 0u);
        workgroupBarrier();
        d0 = multiply(d0, slab, x0, x1);
        d1 = multiply(d1, slab + AREA, x0, x1);
        if TILES == 4u {
            d2 = multiply(d2, slab + 2u * AREA, x0, x1);
            d3 = multiply(d3, slab + 3u * AREA, x0, x1);
        }
        workgroupBarrier();
        put_tiles(place, held0, held1, held2, held3, 1u);
        workgroupBarrier();
        d0 = multiply(d0, slab, x2, x3);
        d1 = multiply(d1, slab + AREA, x2, x3);
        if TILES == 4u {
            d2 = multiply(d2, slab + 2u * AREA, x2, x3);
            d3 = multiply(d3, slab + 3u * AREA, x2, x3);
        }
        workgroupBarrier();
        put_tiles(place, held0, held1, held2, held3, 2u);
        workgroupBarrier();
        d0 = multiply(d0, slab, x4, x5);
        d1 = multiply(d1, slab + AREA, x4, x5);
        if TILES == 4u {
            d2 = multiply(d2, slab + 2u * AREA, x4, x5);
            d3 = multiply(d3, slab + 3u * AREA, x4, x5);
        }
        workgroupBarrier();
        put_tiles(place, held0, held1, held2, held3, 3u);
        workgroupBarrier();
        d0 = multiply(d0, slab, x6, x7);
        d1 = multiply(d1, slab + AREA, x6, x7);
        if TILES == 4u {
            d2 = multiply(d2, slab + 2u * AREA, x6, x7);
            d3 = multiply(d3, slab + 3u * AREA, x6, x7);
        }
        workgroupBarrier();
        if mine < chunks {
            c0 = d0; c1 = d1; c2 = d2; c3 = d3;
        }
    }
    store_tile(c0, product, first, group, subgroup, local);
    store_tile(c1, product, first + 16u, group, subgroup, local);
    if TILES == 4u {
        store_tile(c2, product, first + 32u, group, subgroup, local);
        store_tile(c3, product, first + 48u, group, subgroup, local);
    }
}
