// Rotates what down multiplies, in place: a Walsh-Hadamard transform of each block of `rotation` columns.
//
// grid: x = ceil(inner_blocks * 32 / 256), y = pairs (rows * slots); 128 threads, two columns each.
// LAYOUT, of what is in `scratch`: 0 as `gate_up` leaves it, 1 as `experts_tile`, 2 as `experts_coop`.
//
//   256 columns of a pair, 2 a thread     pass 0: (a, b) -> (a + b, a - b) within a thread
//   | ab | ab | ab | ab | ...             pass k: the same with the thread whose number differs in bit k - 1
//
// Blocks divide `inner`; if they are narrower than 32 columns, those beyond the last are zeros and stay so.
// Moves every value twice, log2(rotation) operations each.

//#import moe_experts/expert
//#import moe_experts/halves
@group(0) @binding(7) var<storage, read_write> scratch: array<u32>;

var<workgroup> pairs: array<vec2<f32>, 128>;

// The word of column `col` of a pair, or of it and the next if they are halves.
fn word_of(rows: u32, pair: u32, col: u32) -> u32 {
    let width = step.inner_blocks * 32u;
    if LAYOUT == 2u {
        return 4u * inner_at(rows) + (pair * width + col) / 2u;
    }
    if LAYOUT == 1u {
        return hidden_at(rows) + pair * width + col;
    }
    return pair * width + ((col % 32u) / 4u * step.inner_blocks + col / 32u) * 4u + col % 4u;
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let rows = batch[step.rows_of];
    let col = group.x * 256u + 2u * local;
    let busy = group.y < rows * step.slots && col < step.inner_blocks * 32u;
    let at = word_of(rows, group.y, col);
    var own = vec2<f32>(0.0);
    if busy {
        if LAYOUT == 2u {
            own = unpack2x16float(scratch[at]);
        } else {
            own = vec2<f32>(bitcast<f32>(scratch[at]), bitcast<f32>(scratch[at + 1u]));
        }
    }
    own = vec2<f32>(own.x + own.y, own.x - own.y);
    for (var bit = 1u; 2u * bit < step.rotation; bit *= 2u) {
        workgroupBarrier();
        pairs[local] = own;
        workgroupBarrier();
        let other = pairs[local ^ bit];
        own = select(own + other, other - own, (local & bit) != 0u);
    }
    own *= inverseSqrt(f32(step.rotation));
    if busy {
        if LAYOUT == 2u {
            scratch[at] = pack2x16float(clamp(own, vec2<f32>(-65504.0), vec2<f32>(65504.0)));
        } else {
            scratch[at] = bitcast<u32>(own.x);
            scratch[at + 1u] = bitcast<u32>(own.y);
        }
    }
}
