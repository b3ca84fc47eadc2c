// Scales in IEEE half, one per 32, 64 or 128 columns. Bindings: 5 scales.

@group(0) @binding(5) var<storage, read> scales: array<u32>;

// Whether a zero point or an offset is used.
const SHIFTED: bool = false;

struct Scales {
    scale: f32,
}

// `row`: index of the row's first scale in the slab, counted in scales; `block` of 32 columns in the row;
// `shift`: log2(columns of a scale / 16).
fn load_scales(row: u32, block: u32, shift: u32) -> Scales {
    let at = row + ((2u * block) >> shift);
    return Scales(unpack2x16float(scales[at >> 1u] >> (16u * (at & 1u))).x);
}

// Scale, zero point and offset of half h (columns 16h..16h+15) of a block.
fn scale_of(s: Scales, h: u32) -> vec3<f32> {
    return vec3<f32>(s.scale, 0.0, 0.0);
}
