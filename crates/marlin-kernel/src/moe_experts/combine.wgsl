// Adds up what the experts of each row made of it: out += sum over slots of weight * result.
//
// grid: x = ceil(outs / 256), y = rows; 256 threads. WORDS: words of scratch that hidden takes for each 32
// of its columns: 32, 64 if SPLIT, 16 after `experts_coop`. Moves every result and out once.

//#import moe_experts/expert
//#import moe_experts/halves
@group(0) @binding(7) var<storage, read_write> scratch: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let rows = batch[step.rows_of];
    let col = group.x * 256u + local;
    if group.y >= rows || col >= step.outs {
        return;
    }
    var stride = step.outs;
    var source = result_at(rows, step.inner_blocks * WORDS);
    if WORDS == 16u {
        stride = 4u * sum_vectors();
        source = 4u * sums_at(rows);
    }
    source += group.y * step.slots * stride + col;
    var sum = 0.0;
    for (var slot = 0u; slot < step.slots; slot += 1u) {
        // An expert that does not exist has no result.
        if expert_of(group.y, slot) < step.count {
            sum = fma(weight_of(group.y, slot), bitcast<f32>(scratch[source + slot * stride]), sum);
        }
    }
    arena[step.out + group.y * step.out_stride + col] += sum;
}
