// Weights of any format as halves, through f32. Bindings: those of `weights`.
enable f16;

//#import weights

// A weight is HALF_UNIT times what `halves8` gives.
const HALF_UNIT: f32 = 1.0;

struct EightHalves {
    low: vec4<f16>,
    high: vec4<f16>,
}

// Values of columns 8i..8i+7 of a block, without the tensor's scale.
fn halves8(c: Codes, s: Scales, i: u32) -> EightHalves {
    let w = weights8(c, s, i);
    return EightHalves(vec4<f16>(w.low), vec4<f16>(w.high));
}
