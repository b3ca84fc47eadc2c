// Four pairs times four value columns, the unit in which attention/attend adds up values: a 4 x 4 matrix, one
// column of it a pair.

// The weight of a pair's position `i` and those `rows` apart, times their values.
fn products(
    pair: u32, i: u32, rows: u32, v0: vec4<f32>, v1: vec4<f32>, v2: vec4<f32>, v3: vec4<f32>,
) -> vec4<f32> {
    let at = pair * WEIGHTS + i;
    return (weights[at] * v0 + weights[at + rows] * v1)
        + (weights[at + 2u * rows] * v2 + weights[at + 3u * rows] * v3);
}

// The same of four pairs.
fn weighted(
    quad: u32, i: u32, rows: u32, v0: vec4<f32>, v1: vec4<f32>, v2: vec4<f32>, v3: vec4<f32>,
) -> mat4x4<f32> {
    return mat4x4<f32>(
        products(quad * 4u, i, rows, v0, v1, v2, v3), products(quad * 4u + 1u, i, rows, v0, v1, v2, v3),
        products(quad * 4u + 2u, i, rows, v0, v1, v2, v3), products(quad * 4u + 3u, i, rows, v0, v1, v2, v3),
    );
}

fn scaled(quad: u32, a: mat4x4<f32>) -> mat4x4<f32> {
    let at = quad * 4u;
    return mat4x4<f32>(
        factors[at] * a[0], factors[at + 1u] * a[1], factors[at + 2u] * a[2], factors[at + 3u] * a[3],
    );
}

// This thread, the first of its four value columns, and how many threads stand side by side.
struct Lanes {
    thread: u32,
    col: u32,
    count: u32,
}

// Adds up what the rows of threads have of one pair's columns, and stores it.
fn store(pair: u32, value: vec4<f32>, output: Output, lanes: Lanes) {
    keys[lanes.thread] = value;
    workgroupBarrier();
    if lanes.thread < lanes.count {
        var total = value;
        for (var i = lanes.thread + lanes.count; i < 256u; i += lanes.count) {
            total += keys[i];
        }
        store_value(output, pair, pairs[pair], lanes.col, total.x, factors[pair]);
        store_value(output, pair, pairs[pair], lanes.col + 1u, total.y, factors[pair]);
        store_value(output, pair, pairs[pair], lanes.col + 2u, total.z, factors[pair]);
        store_value(output, pair, pairs[pair], lanes.col + 3u, total.w, factors[pair]);
    }
    workgroupBarrier();
}

fn store_quad(quad: u32, a: mat4x4<f32>, output: Output, lanes: Lanes) {
    store(quad * 4u, a[0], output, lanes);
    store(quad * 4u + 1u, a[1], output, lanes);
    store(quad * 4u + 2u, a[2], output, lanes);
    store(quad * 4u + 3u, a[3], output, lanes);
}
