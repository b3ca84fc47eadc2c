// Codes of 3-bit integers 0..7, a block of 32 columns in 12 bytes. CODE_ZERO is taken off every code, besides
// the zero point of a group.
//
// Words 0 and 1 hold bits 1 and 0 of columns 0..15 and 16..31 as words of `u2` do, word 2 holds bit 2 of all,
// the even columns in its low half, so that a pair of neighbours comes together as the bits of two subnormal
// f16, each the code times 2^-24:
//
//   word 0   bits 2k + 1, 2k: column 2k       bits 17 + 2k, 16 + 2k: column 2k + 1      k in 0..8
//   word 2   bit k: column 2k                 bit 16 + k: column 2k + 1                 k in 0..16
//
// Bindings: 4 codes. Twenty integer operations for eight codes.

//#import shader/format/no_codebook
@group(0) @binding(4) var<storage, read> codes: array<u32>;

// A code is CODE_UNIT times what `values8` gives.
const CODE_UNIT: f32 = 16777216.0;

struct Codes {
    low: vec2<u32>,
    high: u32,
}

// `block`: index of the block in the slab, counted in blocks of 32 columns.
fn load_codes(block: u32) -> Codes {
    let at = 3u * block;
    return Codes(vec2<u32>(codes[at], codes[at + 1u]), codes[at + 2u]);
}

// Columns 8i..8i+7 of a block.
fn values8(c: Codes, i: u32) -> Eight {
    let w = select(c.low.y, c.low.x, i < 2u) >> (8u * (i & 1u));
    let h = c.high >> (4u * i);
    let a = unpack2x16float((w & 0x00030003u) | ((h << 2u) & 0x00040004u));
    let b = unpack2x16float(((w >> 2u) & 0x00030003u) | ((h << 1u) & 0x00040004u));
    let c2 = unpack2x16float(((w >> 4u) & 0x00030003u) | (h & 0x00040004u));
    let d = unpack2x16float(((w >> 6u) & 0x00030003u) | ((h >> 1u) & 0x00040004u));
    return Eight(vec4<f32>(a, b), vec4<f32>(c2, d));
}
