// Multiply-adds and nothing else: what the device can compute in f32, for benches.
//
// grid: x = any. ROUNDS rounds of 8 independent multiply-adds of four lanes each, a thread.
@group(0) @binding(7) var<storage, read_write> scratch: array<f32>;

const ROUNDS: u32 = 1024u;

@compute @workgroup_size(128)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let x = vec4<f32>(f32(id.x) * 1.0e-9 + 0.5);
    var sums: array<vec4<f32>, 8>;
    for (var i = 0u; i < 8u; i += 1u) {
        sums[i] = vec4<f32>(f32(i));
    }
    for (var round = 0u; round < ROUNDS; round += 1u) {
        for (var i = 0u; i < 8u; i += 1u) {
            sums[i] = fma(sums[i], x, x);
        }
    }
    var all = vec4<f32>(0.0);
    for (var i = 0u; i < 8u; i += 1u) {
        all += sums[i];
    }
    scratch[id.x] = all.x + all.y + all.z + all.w;
}
