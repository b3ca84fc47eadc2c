// A cache of f32 values, one written at a time.
@group(0) @binding(6) var<storage, read_write> cache: array<f32>;

fn cache_store(index: u32, value: f32) {
    cache[index] = value;
}
