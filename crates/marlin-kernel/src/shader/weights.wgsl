// Weights of any format, a block of 32 columns at a time: what kernels call.
//
//   codes    `load_codebook`, `load_codes`, `values8`, CODE_UNIT     shader/format/e2m1.wgsl, u4.wgsl, ...
//   scales   `load_scales`, `scale_of`, SHIFTED                      shader/format/scale_*.wgsl
//   slot     `format`: a pair of them and CODE_ZERO                  shader/format/e2m1_e4m3.wgsl, ...
//   value    scale * (CODE_UNIT * value8 - CODE_ZERO - zero) + offset, times the tensor's scale at the end
//
// Row r of a weight has its blocks from `codes + r * blocks` and its scales from `scales + r * groups`.
// Bindings: 4 codes, 5 scales.

//#import format

// Eight neighbouring columns.
struct Eight {
    low: vec4<f32>,
    high: vec4<f32>,
}

// Whether products need the sum of the x of a half block.
const NEEDS_SUM: bool = SHIFTED || CODE_ZERO != 0.0;

// The part of a product that one half block gives: `sum` of x * value8 and `x_sum` of x over 16 columns.
fn half_product(scale: vec3<f32>, sum: f32, x_sum: f32) -> f32 {
    if NEEDS_SUM {
        return scale.x * (CODE_UNIT * sum - (CODE_ZERO + scale.y) * x_sum) + scale.z * x_sum;
    }
    return (scale.x * CODE_UNIT) * sum;
}

// Values of columns 8i..8i+7 of a block, without the tensor's scale.
fn weights8(c: Codes, s: Scales, i: u32) -> Eight {
    let v = values8(c, i);
    let scale = scale_of(s, i / 2u);
    if NEEDS_SUM {
        let zero = vec4<f32>(CODE_ZERO + scale.y);
        let offset = vec4<f32>(scale.z);
        let low = scale.x * (CODE_UNIT * v.low - zero) + offset;
        let high = scale.x * (CODE_UNIT * v.high - zero) + offset;
        return Eight(low, high);
    }
    let unit = scale.x * CODE_UNIT;
    return Eight(unit * v.low, unit * v.high);
}
