// Products of 2 to 16 rows with cooperative matrices: f16 operands, f32 sums. Needs subgroups of 32 lanes
// and matrices of 16 x 16.
//
// grid: x = sum over products of ceil(outs / (64 / SPLIT)), y = ceil(rows / 16), z = heads; 128 threads.
// SPLIT (1, 2) subgroups share 16 weight rows, each half of the columns; their sums are added at the end.
//
//              64 columns at a time             16 rows of x, f16, from `scratch` (by `convert`)
//   16 weight  +---------------+           K   +------+
//   rows of a  | decoded to    |      x        |      |   =   16 x 16 sums
//   subgroup   | f16: 2304 B   |               +------+
//              +---------------+
//
// Slots: `cells`. Moves the weight once for 16 rows; two operations for each weight and row.

//#import matmul/tile16
//#import cells
//#import matmul/products
@group(0) @binding(7) var<storage, read_write> scratch: array<vec4<f16>>;

// Halves from row to row in workgroup memory: rows of 16 bytes of a matrix lie in different banks.
const PITCH: u32 = 72u;
const AREA: u32 = 16u * PITCH;
// Where the x of each part begins, after the weights of the four subgroups.
const XS: u32 = 4u * AREA;
// Quads of x that a thread moves at a time.
const QUADS: u32 = 2u * SPLIT;

var<workgroup> halves: array<Cell, (4u + SPLIT) * AREA / CELL>;
var<workgroup> outs: array<f32, 256>;

// What a thread holds of columns to come: x, and a block of a row of the weight.
struct Next {
    x: array<vec4<f16>, QUADS>,
    codes: Codes,
    scales: Scales,
}

// Where a thread works.
struct Place {
    local: u32,
    row: u32,
    last_row: u32,
    // Quads from row to row of `scratch`, quads before the head's.
    x_stride: u32,
    x_head: u32,
    // Its row of the weight.
    codes: u32,
    scales: u32,
    // Block of the weight within those that a turn of the loop takes.
    block: u32,
}

fn load_next(place: Place, first: u32) -> Next {
    var next: Next;
    for (var i = 0u; i < QUADS; i += 1u) {
        let at = i * 128u + place.local;
        let row = min(place.row + at / (16u * SPLIT), place.last_row);
        let quad = min(first * 8u + at % (16u * SPLIT), step.blocks * 8u - 1u);
        next.x[i] = scratch[row * place.x_stride + place.x_head + quad];
    }
    let block = min(first + place.block, step.blocks - 1u);
    next.codes = load_codes(place.codes + block);
    next.scales = load_scales(place.scales, block, step.shift);
    return next;
}

fn put_next(place: Place, next: Next, to: u32) {
    for (var i = 0u; i < QUADS; i += 1u) {
        let at = i * 128u + place.local;
        let quad = at % (16u * SPLIT);
        put(XS + (quad / 16u) * AREA + (at / (16u * SPLIT)) * PITCH + 4u * (quad % 16u), next.x[i]);
    }
    for (var i = 0u; i < 4u; i += 1u) {
        let w = weights8(next.codes, next.scales, i);
        put(to + 8u * i, vec4<f16>(w.low));
        put(to + 8u * i + 4u, vec4<f16>(w.high));
    }
}

@compute @workgroup_size(128)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let rows = batch[step.rows_of];
    let row0 = group.y * 16u;
    if row0 >= rows {
        return;
    }
    let product = product_at(group.x);
    let first = ((group.x - product.first) * (4u / SPLIT) + subgroup / SPLIT) * 16u;
    let part = subgroup % SPLIT;
    // A lane decodes block `lane % 2` of row `lane / 2`.
    let w_row = group.z * product.outs + min(first + lane / 2u, product.outs - 1u);
    let place = Place(
        local, row0, rows - 1u, groups.z * step.blocks * 8u, group.z * step.blocks * 8u,
        product.codes + w_row * step.blocks, product.scales + w_row * step.groups, 2u * part + lane % 2u,
    );
    let to = subgroup * AREA + (lane / 2u) * PITCH + 32u * (lane % 2u);
    var sums: MatrixC;
    // Asked for two turns before they are used.
    var next = load_next(place, 0u);
    var after = load_next(place, 2u * SPLIT);
    for (var block = 0u; block < step.blocks; block += 2u * SPLIT) {
        put_next(place, next, to);
        workgroupBarrier();
        next = after;
        after = load_next(place, block + 4u * SPLIT);
        let mine = block + 2u * part;
        let count = min(2u, max(step.blocks, mine) - mine);
        for (var k = 0u; k < 32u * count; k += 16u) {
            let w = (subgroup * AREA + k) / CELL;
            let x = (XS + part * AREA + k) / CELL;
            let pitch = PITCH / CELL;
            let a = coopLoadT<MatrixA>(&halves[w], pitch);
            let b = coopLoad<MatrixB>(&halves[x], pitch);
            sums = coopMultiplyAdd(a, b, sums);
        }
        workgroupBarrier();
    }
    // Sums leave one subgroup after the other, through little workgroup memory.
    let tile0 = (group.x - product.first) * (4u / SPLIT) * 16u;
    for (var tile = 0u; tile < 4u / SPLIT; tile += 1u) {
        var sum = vec2<f32>(0.0);
        for (var owner = tile * SPLIT; owner < (tile + 1u) * SPLIT; owner += 1u) {
            if subgroup == owner {
                let width = 16u;
                coopStore(sums, &outs[0], width);
            }
            workgroupBarrier();
            sum += vec2<f32>(outs[local], outs[local + 128u]);
            workgroupBarrier();
        }
        // Columns of the sums are rows of x.
        let out = tile0 + tile * 16u + local % 16u;
        for (var i = 0u; i < 2u; i += 1u) {
            let row = row0 + local / 16u + 8u * i;
            if row < rows && out < product.outs {
                store_out(product, row, group.z, out, sum[i]);
            }
        }
    }
}
