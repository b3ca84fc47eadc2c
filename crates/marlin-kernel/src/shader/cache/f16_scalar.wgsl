// The cache as f16 values, read one at a time: for starts and widths that are no multiple of 4.
enable f16;
@group(0) @binding(6) var<storage, read_write> cache: array<f16>;

// Four values from `at`; those from `valid` on are 0 and are not read.
fn cached(at: u32, valid: u32) -> vec4<f32> {
    var values = vec4<f32>();
    if valid > 0u { values.x = f32(cache[at]); }
    if valid > 1u { values.y = f32(cache[at + 1u]); }
    if valid > 2u { values.z = f32(cache[at + 2u]); }
    if valid > 3u { values.w = f32(cache[at + 3u]); }
    return values;
}
