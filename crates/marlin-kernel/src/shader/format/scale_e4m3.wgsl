// Scales of 8 bits, E4M3, one per 16 columns: the two of a block in one half word.
//
//   word    | block 2i + 1: columns 16.., 0.. | block 2i: columns 16.., 0.. |     when a row starts even
//
// The tensor's f32 scale is not here: a kernel multiplies it into its result. Bindings: 5 scales.

@group(0) @binding(5) var<storage, read> scales: array<u32>;

// Whether a zero point or an offset is used.
const SHIFTED: bool = false;

struct Scales {
    bits: u32,
}

// `row`: index of the row's first scale in the slab, counted in scales; `block` of 32 columns in the row;
// `shift`: log2(columns of a scale / 16).
fn load_scales(row: u32, block: u32, shift: u32) -> Scales {
    let at = row + 2u * block;
    return Scales(scales[at >> 2u] >> (8u * (at & 2u)));
}

// Scale, zero point and offset of half h (columns 16h..16h+15) of a block.
fn scale_of(s: Scales, h: u32) -> vec3<f32> {
    let bits = s.bits >> (8u * h);
    // As an f16 the exponent is short of the bias by 8; subnormals come out right too.
    let half = ((bits & 0x7fu) << 7u) | ((bits & 0x80u) << 8u);
    return vec3<f32>(256.0 * unpack2x16float(half).x, 0.0, 0.0);
}
