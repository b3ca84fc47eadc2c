// Indices of 3 bits into the slab's codebook, a block of 32 columns in 12 bytes, in order.
//
//   bits [24i, 24i + 24) of a block   columns 8i..8i+7, the first in the lowest bits
//
// Bindings: 4 codes. Two integer operations and a load from workgroup memory for each code.

//#import shader/format/codebook
@group(0) @binding(4) var<storage, read> codes: array<u32>;

// A value is CODE_UNIT times what `values8` gives.
const CODE_UNIT: f32 = 1.0;

struct Codes {
    words: vec3<u32>,
}

// `block`: index of the block in the slab, counted in blocks of 32 columns.
fn load_codes(block: u32) -> Codes {
    let at = 3u * block;
    return Codes(vec3<u32>(codes[at], codes[at + 1u], codes[at + 2u]));
}

fn four_values(w: u32) -> vec4<f32> {
    let at = vec4<u32>(w, w >> 3u, w >> 6u, w >> 9u) & vec4<u32>(7u);
    return vec4<f32>(codebook[at.x], codebook[at.y], codebook[at.z], codebook[at.w]);
}

// Columns 8i..8i+7 of a block.
fn values8(c: Codes, i: u32) -> Eight {
    let w = c.words;
    let first = select((w.x >> 24u) | (w.y << 8u), w.x, i == 0u);
    let second = select(w.z >> 8u, (w.y >> 16u) | (w.z << 16u), i == 2u);
    let bits = select(second, first, i < 2u);
    return Eight(four_values(bits), four_values(bits >> 12u));
}
