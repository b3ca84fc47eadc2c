// x as f16 in `scratch`, for `experts_coop`: zeros beyond the last column.
//
// grid: x = ceil(blocks * 4 / 256), y = rows; 256 threads. Moves x once, half of it back.

//#import moe_experts/expert
//#import moe_experts/input
//#import moe_experts/halves
@group(0) @binding(7) var<storage, read_write> scratch: array<vec4<u32>>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let eighth = group.x * 256u + local;
    let rows = batch[step.rows_of];
    if group.y >= rows || eighth >= 4u * step.blocks {
        return;
    }
    let halves = close(load_x(group.y, 8u * eighth), load_x(group.y, 8u * eighth + 4u));
    scratch[x_at(rows) + group.y * 4u * step.blocks + eighth] = halves;
}
