// The second half of the experts for many rows, in f32 throughout: down hidden, a tile of pairs of one
// expert at a time; `combine` follows.
//
// grid: x = ceil(outs / 64), y = most_tiles; 256 threads.
//
//                  64 outputs
//              +---------------+
//    64 pairs  | 4 x 4 outputs |   a block (32 columns) at a time, as in matmul/matmul
//              |   a thread    |
//              +---------------+
//
// Moves hidden once for 64 outputs, a chosen expert's weights once for 64 of its pairs.

//#import moe_experts/expert
//#import moe_experts/lists
//#import weights
//#import tile64
@group(0) @binding(7) var<storage, read_write> scratch: array<u32>;

fn load_hidden(at: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(scratch[at], scratch[at + 1u], scratch[at + 2u], scratch[at + 3u]));
}

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
    if !is_here(expert, DOWN) {
        return;
    }
    let blocks = step.inner_blocks;
    let out0 = group.x * TILE_ROWS;
    let x_at = hidden_at(rows) + scratch[first + min(local / 4u, count - 1u)] * blocks * 32u;
    let w_row = min(out0 + local / 4u, step.outs - 1u);
    let codes_at = codes_of(expert, DOWN) + w_row * blocks;
    let scales_at = scales_of(expert, DOWN) + w_row * step.inner_groups;
    var sums: array<vec4<f32>, 4>;
    for (var block = 0u; block < blocks; block += 1u) {
        let s = load_scales(scales_at, block, step.inner_shift);
        let w = weights8(load_codes(codes_at + block), s, local & 3u);
        let low = load_hidden(x_at + 32u * block + 8u * (local & 3u));
        let high = load_hidden(x_at + 32u * block + 8u * (local & 3u) + 4u);
        add_block(&sums, local, w, Eight(low, high));
    }
    let scale = tensor_scale_of(expert, DOWN);
    for (var i = 0u; i < 4u; i += 1u) {
        let at = (local >> 4u) + 16u * i;
        if at >= count {
            continue;
        }
        let pair = result_at(rows, blocks * 32u * (1u + SPLIT)) + scratch[first + at] * step.outs;
        for (var j = 0u; j < 4u; j += 1u) {
            let out = out0 + (local & 15u) + 16u * j;
            if out < step.outs {
                scratch[pair + out] = bitcast<u32>(fma(scale, sums[i][j], bias_of(expert, DOWN, out)));
            }
        }
    }
}
