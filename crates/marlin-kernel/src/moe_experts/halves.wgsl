// Where the shaders with cooperative matrices keep f16 values in `scratch`, which they see as
// array<vec4<u32>>: eight halves, four words of a list or four results at a time. Indices of vectors:
//
//   x_at       x of each row, `blocks` * 32 halves                      (lists before it: `lists`)
//   inner_at   activation(gate x) * (up x) of each pair, `inner_blocks` * 32 halves
//   sums_at    down's result of each pair, `outs` f32, filled up to a multiple of 4
//
// Bindings: those of `expert`; the shader declares 7 scratch.

//#import moe_experts/lists

fn x_at(rows: u32) -> u32 {
    return hidden_at(rows) / 4u;
}

fn inner_at(rows: u32) -> u32 {
    return x_at(rows) + rows * step.blocks * 4u;
}

fn sums_at(rows: u32) -> u32 {
    return inner_at(rows) + rows * step.slots * step.inner_blocks * 4u;
}

// Vectors of a pair's result.
fn sum_vectors() -> u32 {
    return (step.outs + 3u) / 4u;
}

// Eight values as halves, magnitudes held within f16.
fn close(low: vec4<f32>, high: vec4<f32>) -> vec4<u32> {
    let a = clamp(low, vec4<f32>(-65504.0), vec4<f32>(65504.0));
    let b = clamp(high, vec4<f32>(-65504.0), vec4<f32>(65504.0));
    return vec4<u32>(
        pack2x16float(a.xy), pack2x16float(a.zw), pack2x16float(b.xy), pack2x16float(b.zw),
    );
}
