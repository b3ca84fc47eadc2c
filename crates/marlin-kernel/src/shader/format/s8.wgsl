// Codes of signed 8-bit integers, stored with 128 added, four in a word, the first in the lowest bits.
//
// A byte under the bits of 2^23 is the f32 2^23 + byte: no conversion from integers, which GPUs do slowly.
// Two integer operations and a subtraction for each code.

//#import shader/format/no_codebook

// A code is CODE_UNIT times what `values8` gives.
const CODE_UNIT: f32 = 1.0;

fn four_bytes(w: u32) -> vec4<f32> {
    let bytes = (vec4<u32>(w, w >> 8u, w >> 16u, w >> 24u) & vec4<u32>(255u)) | vec4<u32>(0x4b000000u);
    return bitcast<vec4<f32>>(bytes) - vec4<f32>(8388736.0);
}
