// Codes of 4 bits, a block of 32 columns in 16 bytes: word i holds columns 8i..8i+7, which `eight_nibbles`
// of the code reads. Bindings: 4 codes.

@group(0) @binding(4) var<storage, read> codes: array<vec4<u32>>;

struct Codes {
    words: vec4<u32>,
}

// `block`: index of the block in the slab, counted in blocks of 32 columns.
fn load_codes(block: u32) -> Codes {
    return Codes(codes[block]);
}

// Columns 8i..8i+7 of a block.
fn values8(c: Codes, i: u32) -> Eight {
    return eight_nibbles(c.words[i]);
}
