// Codes of 4-bit integers 0..15, a block of 32 columns in 16 bytes. CODE_ZERO (8 for
// signed ones) is taken off every code, besides the zero point of a group.
//
// Word i of a block holds columns 8i..8i+7 so that one shift and one mask leave a pair of neighbours, each
// the bits of a subnormal f16, the code times 2^-24:
//
//   bit    31    28 27    24 23    20 19    16 15    12 11     8 7      4 3      0
//          | 8i+7 | 8i+5   | 8i+3   | 8i+1   | 8i+6   | 8i+4   | 8i+2   | 8i     |
//
// Bindings: 4 codes. Seven integer operations for eight codes.

//#import shader/format/no_codebook
@group(0) @binding(4) var<storage, read> codes: array<vec4<u32>>;

// A code is CODE_UNIT times what `values8` gives.
const CODE_UNIT: f32 = 16777216.0;

struct Codes {
    words: vec4<u32>,
}

// `block`: index of the block in the slab, counted in blocks of 32 columns.
fn load_codes(block: u32) -> Codes {
    return Codes(codes[block]);
}

// Columns 8i..8i+7 of a block.
fn values8(c: Codes, i: u32) -> Eight {
    let w = c.words[i];
    let a = unpack2x16float(w & 0x000f000fu);
    let b = unpack2x16float((w >> 4u) & 0x000f000fu);
    let c2 = unpack2x16float((w >> 8u) & 0x000f000fu);
    let d = unpack2x16float((w >> 12u) & 0x000f000fu);
    return Eight(vec4<f32>(a, b), vec4<f32>(c2, d));
}
