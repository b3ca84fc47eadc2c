// Codes of signed 8-bit integers, stored with 128 added, a block of 32 columns in 32 bytes.
//
//   byte j of a block = column j
//
// A byte under the bits of 2^23 is the f32 2^23 + byte: no conversion from integers, which GPUs do slowly.
// Bindings: 4 codes. Two integer operations and a subtraction for each code.

//#import shader/format/no_codebook
@group(0) @binding(4) var<storage, read> codes: array<vec4<u32>>;

// A code is CODE_UNIT times what `values8` gives.
const CODE_UNIT: f32 = 1.0;

struct Codes {
    low: vec4<u32>,
    high: vec4<u32>,
}

// `block`: index of the block in the slab, counted in blocks of 32 columns.
fn load_codes(block: u32) -> Codes {
    return Codes(codes[2u * block], codes[2u * block + 1u]);
}

fn four_bytes(w: u32) -> vec4<f32> {
    let bytes = (vec4<u32>(w, w >> 8u, w >> 16u, w >> 24u) & vec4<u32>(255u)) | vec4<u32>(0x4b000000u);
    return bitcast<vec4<f32>>(bytes) - vec4<f32>(8388736.0);
}

// Columns 8i..8i+7 of a block.
fn values8(c: Codes, i: u32) -> Eight {
    let words = select(c.high, c.low, i < 2u);
    let pair = select(words.zw, words.xy, (i & 1u) == 0u);
    return Eight(four_bytes(pair.x), four_bytes(pair.y));
}
