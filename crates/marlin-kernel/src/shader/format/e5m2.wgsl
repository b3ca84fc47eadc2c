// Codes of 8-bit floats (E5M2), four in a word, the first in the lowest bits.
//
// A byte is the upper half of an f16. What the standard calls infinite or NaN is held at 57344, the
// largest, as everywhere. Twenty integer operations for four codes.

//#import shader/format/no_codebook

// A value is CODE_UNIT times what `values8` gives.
const CODE_UNIT: f32 = 1.0;

fn four_bytes(w: u32) -> vec4<f32> {
    let bytes = vec4<u32>(w, w >> 8u, w >> 16u, w >> 24u);
    let magnitudes = min(bytes & vec4<u32>(0x7fu), vec4<u32>(0x7bu));
    let halves = (magnitudes | (bytes & vec4<u32>(0x80u))) << vec4<u32>(8u);
    let low = unpack2x16float(halves.x | (halves.y << 16u));
    return vec4<f32>(low, unpack2x16float(halves.z | (halves.w << 16u)));
}
