// Codes of 8 bits, a block of 32 columns in 32 bytes: byte j is column j, and `four_bytes` of the code
// reads a word. Bindings: 4 codes.

@group(0) @binding(4) var<storage, read> codes: array<vec4<u32>>;

struct Codes {
    low: vec4<u32>,
    high: vec4<u32>,
}

// `block`: index of the block in the slab, counted in blocks of 32 columns.
fn load_codes(block: u32) -> Codes {
    return Codes(codes[2u * block], codes[2u * block + 1u]);
}

// Columns 8i..8i+7 of a block.
fn values8(c: Codes, i: u32) -> Eight {
    let words = select(c.high, c.low, i < 2u);
    let pair = select(words.zw, words.xy, (i & 1u) == 0u);
    return Eight(four_bytes(pair.x), four_bytes(pair.y));
}
