// Values in IEEE single: a block of 32 columns in 128 bytes, in order.
// Bindings: 4 codes.

//#import shader/format/no_codebook
@group(0) @binding(4) var<storage, read> codes: array<vec4<u32>>;

// A value is CODE_UNIT times what `values8` gives.
const CODE_UNIT: f32 = 1.0;

struct Codes {
    words: array<vec4<u32>, 8>,
}

// `block`: index of the block in the slab, counted in blocks of 32 columns.
fn load_codes(block: u32) -> Codes {
    let at = 8u * block;
    return Codes(array<vec4<u32>, 8>(
        codes[at], codes[at + 1u], codes[at + 2u], codes[at + 3u],
        codes[at + 4u], codes[at + 5u], codes[at + 6u], codes[at + 7u],
    ));
}

// Columns 8i..8i+7 of a block.
fn values8(c: Codes, i: u32) -> Eight {
    return Eight(bitcast<vec4<f32>>(c.words[2u * i]), bitcast<vec4<f32>>(c.words[2u * i + 1u]));
}
