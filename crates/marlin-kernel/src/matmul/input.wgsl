// How the matrix-product shaders read x, whose words are not aligned. Bindings: 1 arena.

// Four columns of a row of x, zeros beyond the last column.
fn load_x(row: u32, head: u32, col: u32) -> vec4<f32> {
    let at = step.x + row * step.x_stride + head * step.x_head + col;
    if col + 4u <= step.cols {
        return vec4<f32>(arena[at], arena[at + 1u], arena[at + 2u], arena[at + 3u]);
    }
    var x = vec4<f32>(0.0);
    for (var i = 0u; col + i < step.cols; i += 1u) {
        x[i] = arena[at + i];
    }
    return x;
}

// Four values as halves, magnitudes held within f16.
fn pack_halves(x: vec4<f32>) -> vec2<u32> {
    let held = clamp(x, vec4<f32>(-65504.0), vec4<f32>(65504.0));
    return vec2<u32>(pack2x16float(held.xy), pack2x16float(held.zw));
}
