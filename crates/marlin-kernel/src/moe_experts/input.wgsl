// How the experts' shaders read x, whose words are not aligned. Bindings: those of `expert`.

// Four columns of a row of x, zeros beyond the last column.
fn load_x(row: u32, col: u32) -> vec4<f32> {
    let at = step.x + row * step.x_stride + col;
    if col + 4u <= step.cols {
        return vec4<f32>(arena[at], arena[at + 1u], arena[at + 2u], arena[at + 3u]);
    }
    var x = vec4<f32>(0.0);
    for (var i = 0u; col + i < step.cols; i += 1u) {
        x[i] = arena[at + i];
    }
    return x;
}
