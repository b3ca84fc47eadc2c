// Values in IEEE half: a block of 32 columns in 64 bytes, in order.
// Bindings: 4 codes. One conversion for each value.

//#import shader/format/no_codebook
@group(0) @binding(4) var<storage, read> codes: array<vec4<u32>>;

// A value is CODE_UNIT times what `values8` gives.
const CODE_UNIT: f32 = 1.0;

struct Codes {
    words: array<vec4<u32>, 4>,
}

// `block`: index of the block in the slab, counted in blocks of 32 columns.
fn load_codes(block: u32) -> Codes {
    let at = 4u * block;
    return Codes(array<vec4<u32>, 4>(codes[at], codes[at + 1u], codes[at + 2u], codes[at + 3u]));
}

// Columns 8i..8i+7 of a block.
fn values8(c: Codes, i: u32) -> Eight {
    let w = c.words[i];
    let low = vec4<f32>(unpack2x16float(w.x), unpack2x16float(w.y));
    let high = vec4<f32>(unpack2x16float(w.z), unpack2x16float(w.w));
    return Eight(low, high);
}
