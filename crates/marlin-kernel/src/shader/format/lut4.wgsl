// Indices of 4 bits into the slab's codebook, eight in a word, the first in the lowest bits.
// Two integer operations and a load from workgroup memory for each code.

//#import shader/format/codebook

// A value is CODE_UNIT times what `values8` gives.
const CODE_UNIT: f32 = 1.0;

fn four_nibbles(w: u32) -> vec4<f32> {
    let at = vec4<u32>(w, w >> 4u, w >> 8u, w >> 12u) & vec4<u32>(15u);
    return vec4<f32>(codebook[at.x], codebook[at.y], codebook[at.z], codebook[at.w]);
}

fn eight_nibbles(w: u32) -> Eight {
    return Eight(four_nibbles(w), four_nibbles(w >> 16u));
}
