// Kept codes of 8 bits, a block of 32 columns in 20 bytes.
//
//   words 0..3   16 codes in order: word i those kept of columns 8i..8i+7
//   word 4       positions, as `kept` has them
//
// Bindings: 4 codes.

//#import shader/format/kept
@group(0) @binding(4) var<storage, read> codes: array<u32>;

struct Codes {
    words: vec4<u32>,
    positions: u32,
}

// `block`: index of the block in the slab, counted in blocks of 32 columns.
fn load_codes(block: u32) -> Codes {
    let at = 5u * block;
    let words = vec4<u32>(codes[at], codes[at + 1u], codes[at + 2u], codes[at + 3u]);
    return Codes(words, codes[at + 4u]);
}

// Columns 8i..8i+7 of a block.
fn values8(c: Codes, i: u32) -> Eight {
    return eight_columns(four_bytes(c.words[i]), c.positions >> (8u * i));
}
