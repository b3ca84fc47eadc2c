// Codes of 2-bit integers 0..3, a block of 32 columns in 8 bytes. CODE_ZERO is taken off every code, besides
// the zero point of a group.
//
// Word i of a block holds columns 16i..16i+15 so that one shift and one mask leave a pair of neighbours, each
// the bits of a subnormal f16, the code times 2^-24:
//
//   bits 2k + 1, 2k: column 16i + 2k          bits 17 + 2k, 16 + 2k: column 16i + 2k + 1      k in 0..8
//
// Bindings: 4 codes. Eight integer operations for eight codes.

//#import shader/format/no_codebook
@group(0) @binding(4) var<storage, read> codes: array<vec2<u32>>;

// A code is CODE_UNIT times what `values8` gives.
const CODE_UNIT: f32 = 16777216.0;

struct Codes {
    words: vec2<u32>,
}

// `block`: index of the block in the slab, counted in blocks of 32 columns.
fn load_codes(block: u32) -> Codes {
    return Codes(codes[block]);
}

// Columns 8i..8i+7 of a block.
fn values8(c: Codes, i: u32) -> Eight {
    let w = select(c.words.y, c.words.x, i < 2u) >> (8u * (i & 1u));
    let a = unpack2x16float(w & 0x00030003u);
    let b = unpack2x16float((w >> 2u) & 0x00030003u);
    let c2 = unpack2x16float((w >> 4u) & 0x00030003u);
    let d = unpack2x16float((w >> 6u) & 0x00030003u);
    return Eight(vec4<f32>(a, b), vec4<f32>(c2, d));
}
