// Products of many rows, in f32 throughout: prompts on devices without cooperative matrices.
//
// grid: x = sum over products of ceil(outs / 64), y = ceil(rows / 64), z = heads; 256 threads.
//
//                  64 outputs
//              +---------------+
//     64 rows  | 4 x 4 outputs |   a block (32 columns) of x and of the weight at a time, decoded once a
//              |   a thread    |   workgroup, in workgroup memory (18 KiB): quad j of row r at r * PITCH + j
//              +---------------+
//
// Moves x once for 64 outputs, the weight once for 64 rows; two operations for each weight and row.

//#import matmul/products
//#import matmul/input

const TILE: u32 = 64u;
// Odd, so that the same quad of 8 rows lies in different banks.
const PITCH: u32 = 9u;

var<workgroup> xs: array<vec4<f32>, TILE * PITCH>;
var<workgroup> ws: array<vec4<f32>, TILE * PITCH>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let rows = batch[step.rows_of];
    let row0 = group.y * TILE;
    if row0 >= rows {
        return;
    }
    let product = product_at(group.x);
    let out0 = (group.x - product.first) * TILE;
    let x_row = min(row0 + local / 4u, rows - 1u);
    let w_row = group.z * product.outs + min(out0 + local / 4u, product.outs - 1u);
    let to = (local / 4u) * PITCH + 2u * (local & 3u);
    var sums: array<vec4<f32>, 4>;
    for (var block = 0u; block < step.blocks; block += 1u) {
        let c = load_codes(product.codes + w_row * step.blocks + block);
        let s = load_scales(product.scales + w_row * step.groups, block, step.shift);
        let w = weights8(c, s, local & 3u);
        let col = 32u * block + 8u * (local & 3u);
        let low = load_x(x_row, group.z, col);
        let high = load_x(x_row, group.z, col + 4u);
        workgroupBarrier();
        ws[to] = w.low;
        ws[to + 1u] = w.high;
        xs[to] = low;
        xs[to + 1u] = high;
        workgroupBarrier();
        for (var j = 0u; j < 8u; j += 1u) {
            let at = (local & 15u) * PITCH + j;
            let w0 = ws[at];
            let w1 = ws[at + 16u * PITCH];
            let w2 = ws[at + 32u * PITCH];
            let w3 = ws[at + 48u * PITCH];
            for (var i = 0u; i < 4u; i += 1u) {
                let x = xs[((local >> 4u) + 16u * i) * PITCH + j];
                sums[i] += vec4<f32>(dot(x, w0), dot(x, w1), dot(x, w2), dot(x, w3));
            }
        }
    }
    for (var i = 0u; i < 4u; i += 1u) {
        let row = row0 + (local >> 4u) + 16u * i;
        for (var j = 0u; j < 4u; j += 1u) {
            let out = out0 + (local & 15u) + 16u * j;
            if row < rows && out < product.outs {
                store_out(product, row, group.z, out, sums[i][j]);
            }
        }
    }
}
