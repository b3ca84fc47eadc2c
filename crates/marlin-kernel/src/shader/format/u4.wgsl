// Codes of 4-bit integers 0..15, eight in a word. CODE_ZERO (8 for signed ones) is taken off every code,
// besides the zero point of a group.
//
// They lie so that one shift and one mask leave a pair of neighbours, each the bits of a subnormal f16, the
// code times 2^-24:
//
//   bit    31    28 27    24 23    20 19    16 15    12 11     8 7      4 3      0
//          |   7   |   5    |   3    |   1    |   6    |   4    |   2    |   0   |     columns
//
// Seven integer operations for eight codes.

//#import shader/format/no_codebook

// A code is CODE_UNIT times what `values8` gives.
const CODE_UNIT: f32 = 16777216.0;

fn eight_nibbles(w: u32) -> Eight {
    let a = unpack2x16float(w & 0x000f000fu);
    let b = unpack2x16float((w >> 4u) & 0x000f000fu);
    let c2 = unpack2x16float((w >> 8u) & 0x000f000fu);
    let d = unpack2x16float((w >> 12u) & 0x000f000fu);
    return Eight(vec4<f32>(a, b), vec4<f32>(c2, d));
}
