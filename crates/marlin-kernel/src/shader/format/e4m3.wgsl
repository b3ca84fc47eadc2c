// Codes of 8-bit floats (E4M3), four in a word, the first in the lowest bits.
//
// Sign and the other bits of a byte, moved to those of an f16, are the value times 2^-8, subnormals too;
// 0x7f, NaN in the standard, is 480. Eleven integer operations for four codes.

//#import shader/format/no_codebook

// A value is CODE_UNIT times what `values8` gives.
const CODE_UNIT: f32 = 256.0;

// The bytes 0 and 2 of w.
fn two_floats(w: u32) -> vec2<f32> {
    return unpack2x16float(((w & 0x007f007fu) << 7u) | ((w & 0x00800080u) << 8u));
}

fn four_bytes(w: u32) -> vec4<f32> {
    let even = two_floats(w);
    let odd = two_floats(w >> 8u);
    return vec4<f32>(even.x, odd.x, even.y, odd.y);
}
