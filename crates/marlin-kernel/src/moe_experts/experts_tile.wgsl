// The first half of the experts for many rows, in f32 throughout: activation(gate x) * (up x), a tile of
// pairs of one expert at a time.
//
// grid: x = ceil(inner / 32), or / 64 if SPLIT, y = most_tiles, z = 1, or 2 if SPLIT; 256 threads.
// SPLIT 1: gate and up do not share a dispatch; z chooses the matrix and `activate` follows.
//
//                  32 outputs of gate, the same 32 of up (SPLIT: 64 of one)
//              +---------------+
//    64 pairs  | 4 x 4 sums    |   a block (32 columns) at a time, as in matmul/matmul: a thread holds gate
//              |   a thread    |   and up of the same output
//              +---------------+
//
// Lists: `moe_sort`. Moves x once for 32 outputs, a chosen expert's weights once for 64 of its pairs.

//#import moe_experts/expert
//#import moe_experts/input
//#import moe_experts/lists
//#import weights
//#import tile64
//#import gated_mul/activation
@group(0) @binding(7) var<storage, read_write> scratch: array<u32>;

const WIDTH: u32 = 32u * (1u + SPLIT);

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    load_codebook(local);
    let rows = batch[step.rows_of];
    if group.y >= scratch[0] {
        return;
    }
    let tile = tiles_at(rows) + 4u * group.y;
    let expert = scratch[tile];
    let first = 4u + scratch[tile + 1u];
    let count = scratch[tile + 2u];
    if !is_here(expert, group.z) {
        return;
    }
    let out0 = group.x * WIDTH;
    let x_row = scratch[first + min(local / 4u, count - 1u)] / step.slots;
    // Rows 0..31 of the tile are gate's, 32..63 up's; with SPLIT all are of one.
    let matrix = group.z + local / 4u / WIDTH;
    let w_row = min(out0 + local / 4u % WIDTH, step.inner - 1u);
    let codes_at = codes_of(expert, matrix) + w_row * step.blocks;
    let scales_at = scales_of(expert, matrix) + w_row * step.groups;
    var sums: array<vec4<f32>, 4>;
    for (var block = 0u; block < step.blocks; block += 1u) {
        let w = weights8(load_codes(codes_at + block), load_scales(scales_at, block, step.shift), local & 3u);
        let col = 32u * block + 8u * (local & 3u);
        let low = load_x(x_row, col);
        let high = load_x(x_row, col + 4u);
        add_block(&sums, local, w, Eight(low, high));
    }
    let width = step.inner_blocks * 32u;
    let base = hidden_at(rows) + group.z * rows * step.slots * width;
    let gate_scale = tensor_scale_of(expert, group.z);
    for (var i = 0u; i < 4u; i += 1u) {
        let at = (local >> 4u) + 16u * i;
        if at >= count {
            continue;
        }
        let pair = base + scratch[first + at] * width;
        for (var j = 0u; j < WIDTH / 16u; j += 1u) {
            let out = out0 + (local & 15u) + 16u * j;
            let own = min(out, step.inner - 1u);
            var value = fma(gate_scale, sums[i][j], bias_of(expert, group.z, own));
            if SPLIT == 0u {
                let sum = sums[i][(j + 2u) & 3u];
                let up = fma(tensor_scale_of(expert, UP), sum, bias_of(expert, UP, own));
                value = activate(step.activation, step.limit, value, up);
            }
            // Columns beyond the last are read with weights of zero: they must be numbers.
            if out < width {
                scratch[pair + out] = bitcast<u32>(select(0.0, value, out < step.inner));
            }
        }
    }
}
