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
//#import tile64

const TILE: u32 = 64u;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    load_codebook(local);
    let rows = batch[step.rows_of];
    let row0 = group.y * TILE;
    if row0 >= rows {
        return;
    }
    let product = product_at(group.x);
    let out0 = (group.x - product.first) * TILE;
    let x_row = min(row0 + local / 4u, rows - 1u);
    let w_row = group.z * product.outs + min(out0 + local / 4u, product.outs - 1u);
    var sums: array<vec4<f32>, 4>;
    for (var block = 0u; block < step.blocks; block += 1u) {
        let c = load_codes(product.codes + w_row * step.blocks + block);
        let s = load_scales(product.scales + w_row * step.groups, block, step.shift);
        let w = weights8(c, s, local & 3u);
        let col = 32u * block + 8u * (local & 3u);
        let low = load_x(x_row, group.z, col);
        let high = load_x(x_row, group.z, col + 4u);
        add_block(&sums, local, w, Eight(low, high));
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
