// Indices of 4 bits into the slab's codebook, a block of 32 columns in 16 bytes, in order.
//
//   word i of a block   columns 8i..8i+7, the first in the lowest bits
//
// Bindings: 4 codes. Two integer operations and a load from workgroup memory for each code.

//#import shader/format/codebook
@group(0) @binding(4) var<storage, read> codes: array<vec4<u32>>;

// A value is CODE_UNIT times what `values8` gives.
const CODE_UNIT: f32 = 1.0;

struct Codes {
    words: vec4<u32>,
}

// `block`: index of the block in the slab, counted in blocks of 32 columns.
fn load_codes(block: u32) -> Codes {
    return Codes(codes[block]);
}

fn four_values(w: u32) -> vec4<f32> {
    let at = vec4<u32>(w, w >> 4u, w >> 8u, w >> 12u) & vec4<u32>(15u);
    return vec4<f32>(codebook[at.x], codebook[at.y], codebook[at.z], codebook[at.w]);
}

// Columns 8i..8i+7 of a block.
fn values8(c: Codes, i: u32) -> Eight {
    let w = c.words[i];
    return Eight(four_values(w), four_values(w >> 16u));
}
