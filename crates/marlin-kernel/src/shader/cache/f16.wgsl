// The cache as f16 values, read four at a time: every start of keys and values, every head width and the
// stride of a row must be a multiple of 4.
enable f16;
@group(0) @binding(6) var<storage, read_write> cache: array<vec4<f16>>;

// Four values from `at`, a multiple of 4; those from `valid` on are 0.
fn cached(at: u32, valid: u32) -> vec4<f32> {
    if valid == 0u {
        return vec4<f32>();
    }
    return vec4<f32>(cache[at / 4u]);
}
