// Copies one buffer to another: what the device's memory can do, for benches.
//
// grid: x = workgroups of 4096 bytes, fewer take several. Moves every byte twice: read and written.
@group(0) @binding(4) var<storage, read> codes: array<vec4<u32>>;
@group(0) @binding(7) var<storage, read_write> scratch: array<vec4<u32>>;

@compute @workgroup_size(256)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let count = arrayLength(&codes);
    for (var i = id.x; i < count; i += groups.x * 256u) {
        scratch[i] = codes[i];
    }
}
