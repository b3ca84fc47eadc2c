// Weights of fp4 as halves, multiplied in f16: exact, since a code has 2 bits of precision and its scale 4.
//
//   code as half     value * 2^-14      (shader/format/e2m1.wgsl)
//   scale as half    scale * 2^-8, here times 2^15: at most 448 * 128
//   product          weight * 2^-7: multiples of 2^-17, at most 2688 * 2^-7
//
// Bindings: those of `weights`, with shader/format/e2m1_e4m3 in slot `format`. A multiplication for two.
enable f16;

//#import weights

// A weight is HALF_UNIT times what `halves8` gives.
const HALF_UNIT: f32 = 128.0;

struct EightHalves {
    low: vec4<f16>,
    high: vec4<f16>,
}

// Two codes where `e2m1` masks them, scaled.
fn scaled_pair(bits: u32, scale: f16) -> vec2<f16> {
    return vec2<f16>(unpack2x16float(bits)) * scale;
}

// Values of columns 8i..8i+7 of a block, without the tensor's scale.
fn halves8(c: Codes, s: Scales, i: u32) -> EightHalves {
    let bits = s.bits >> (8u * (i / 2u));
    let signed = ((bits & 0x7fu) << 7u) | ((bits & 0x80u) << 8u);
    let scale = vec2<f16>(unpack2x16float(signed)).x * 32768.0h;
    let w = c.words[i];
    let a = scaled_pair(w & 0x8e008e00u, scale);
    let b = scaled_pair((w << 3u) & 0x8e008e00u, scale);
    let c2 = scaled_pair(((w << 1u) & 0x80008000u) | ((w << 6u) & 0x0e000e00u), scale);
    let d = scaled_pair(((w << 2u) & 0x80008000u) | ((w << 9u) & 0x0e000e00u), scale);
    return EightHalves(vec4<f16>(a, b), vec4<f16>(c2, d));
}
