// The cache as f32 values: exact, for tests and for devices without f16.
@group(0) @binding(6) var<storage, read_write> cache: array<f32>;

// Four values from `at`; those from `valid` on are 0 and are not read.
fn cached(at: u32, valid: u32) -> vec4<f32> {
    if valid >= 4u {
        return vec4<f32>(cache[at], cache[at + 1u], cache[at + 2u], cache[at + 3u]);
    }
    var values = vec4<f32>();
    if valid > 0u { values.x = cache[at]; }
    if valid > 1u { values.y = cache[at + 1u]; }
    if valid > 2u { values.z = cache[at + 2u]; }
    return values;
}
