// Where gate and up had dispatches of their own: scratch = activation(gate) * up, in gate's place.
//
// grid: x = ceil(words / 256), y = 1, where words = pairs * inner_blocks * 32; 256 threads.
// LISTS 0: scratch is of `gate_up`; 1: of `experts_tile`. Moves three words a value.

//#import moe_experts/expert
//#import gated_mul/activation
//#import moe_experts/lists
@group(0) @binding(7) var<storage, read_write> scratch: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let rows = batch[step.rows_of];
    let words = rows * step.slots * step.inner_blocks * 32u;
    if id.x >= words {
        return;
    }
    var at = id.x;
    if LISTS == 1u {
        at += hidden_at(rows);
    }
    let gate = bitcast<f32>(scratch[at]);
    let up = bitcast<f32>(scratch[at + words]);
    scratch[at] = bitcast<u32>(activate(step.activation, step.limit, gate, up));
}
