// Values in bfloat16, the upper half of an f32: a block of 32 columns in 64 bytes, in order.
// Bindings: 4 codes. One integer operation for each value.

//#import shader/format/no_codebook
@group(0) @binding(4) var<storage, read> codes: array<vec4<u32>>;

// A value is CODE_UNIT times what `values8` gives.
const CODE_UNIT: f32 = 1.0;

struct Codes {
    words: array<vec4<u32>, 4>,
}

// `block`: index of the block in the slab, counted in blocks of 32 columns.
fn load_codes(block: u32) -> Codes {
    let at = 4u * block;
    return Codes(array<vec4<u32>, 4>(codes[at], codes[at + 1u], codes[at + 2u], codes[at + 3u]));
}

fn two_pairs(w: vec2<u32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(w.x << 16u, w.x & 0xffff0000u, w.y << 16u, w.y & 0xffff0000u));
}

// Columns 8i..8i+7 of a block.
fn values8(c: Codes, i: u32) -> Eight {
    let w = c.words[i];
    return Eight(two_pairs(w.xy), two_pairs(w.zw));
}
