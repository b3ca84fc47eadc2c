// Scales of 8 bits, E8M0, a power of two per 32, 64 or 128 columns. Bindings: 5 scales.

@group(0) @binding(5) var<storage, read> scales: array<u32>;

// Whether a zero point or an offset is used.
const SHIFTED: bool = false;

struct Scales {
    bits: u32,
}

// `row`: index of the row's first scale in the slab, counted in scales; `block` of 32 columns in the row;
// `shift`: log2(columns of a scale / 16).
fn load_scales(row: u32, block: u32, shift: u32) -> Scales {
    let at = row + ((2u * block) >> shift);
    return Scales((scales[at >> 2u] >> (8u * (at & 3u))) & 255u);
}

// Scale, zero point and offset of half h (columns 16h..16h+15) of a block.
fn scale_of(s: Scales, h: u32) -> vec3<f32> {
    // 2^(bits - 127); 2^-127 is subnormal, and 255 (NaN in the standard) reads as 2^127 here.
    let bits = select(min(s.bits, 254u) << 23u, 0x00400000u, s.bits == 0u);
    return vec3<f32>(bitcast<f32>(bits), 0.0, 0.0);
}
