// Kept codes of 4 bits, a block of 32 columns in 12 bytes.
//
//   words 0, 1   16 codes as `nibbles` has 16 columns: word i those kept of columns 16i..16i+15
//   word 2       positions, as `kept` has them
//
// Bindings: 4 codes.

//#import shader/format/kept
@group(0) @binding(4) var<storage, read> codes: array<u32>;

struct Codes {
    words: vec2<u32>,
    positions: u32,
}

// `block`: index of the block in the slab, counted in blocks of 32 columns.
fn load_codes(block: u32) -> Codes {
    let at = 3u * block;
    return Codes(vec2<u32>(codes[at], codes[at + 1u]), codes[at + 2u]);
}

// Columns 8i..8i+7 of a block.
fn values8(c: Codes, i: u32) -> Eight {
    let sixteen = eight_nibbles(select(c.words.y, c.words.x, i < 2u));
    return eight_columns(select(sixteen.high, sixteen.low, (i & 1u) == 0u), c.positions >> (8u * i));
}
