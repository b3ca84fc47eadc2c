// x as f16 in `scratch`, for the shaders with cooperative matrices: rows of `blocks * 32` halves, head after
// head, zeros beyond the last column, magnitudes held within f16.
//
//   scratch   | row 0: head 0 | head 1 | ... | row 1: head 0 | ...      4 words for 8 columns
//
// grid: x = ceil(blocks * 4 / 256), y = rows, z = heads; 256 threads. Moves x once, half of it back.

//#import matmul/step
//#import matmul/input
@group(0) @binding(7) var<storage, read_write> scratch: array<vec4<u32>>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let eight = group.x * 256u + local;
    if group.y >= batch[step.rows_of] || eight >= 4u * step.blocks {
        return;
    }
    let low = pack_halves(load_x(group.y, group.z, 8u * eight));
    let high = pack_halves(load_x(group.y, group.z, 8u * eight + 4u));
    scratch[(group.y * groups.z + group.z) * 4u * step.blocks + eight] = vec4<u32>(low, high);
}
