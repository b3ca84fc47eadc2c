// A cache of f16 values, one written at a time.
enable f16;
@group(0) @binding(6) var<storage, read_write> cache: array<f16>;

fn cache_store(index: u32, value: f32) {
    cache[index] = f16(value);
}
