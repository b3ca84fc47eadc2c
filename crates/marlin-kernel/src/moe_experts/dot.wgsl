// Eight products on top of a sum.

fn dot8(sum: f32, low: vec4<f32>, high: vec4<f32>, w: Eight) -> f32 {
    let a = fma(low.w, w.low.w, fma(low.z, w.low.z, fma(low.y, w.low.y, fma(low.x, w.low.x, sum))));
    return fma(high.w, w.high.w, fma(high.z, w.high.z, fma(high.y, w.high.y, fma(high.x, w.high.x, a))));
}
