// Scales in IEEE single, one per 32, 64 or 128 columns or per row. Bindings: 5 scales.

@group(0) @binding(5) var<storage, read> scales: array<u32>;

// Whether a zero point or an offset is used.
const SHIFTED: bool = false;

struct Scales {
    scale: f32,
}

// `row`: index of the row's first scale in the slab, counted in scales; `block` of 32 columns in the row;
// `shift`: log2(columns of a scale / 16).
fn load_scales(row: u32, block: u32, shift: u32) -> Scales {
    return Scales(bitcast<f32>(scales[row + ((2u * block) >> shift)]));
}

// Scale, zero point and offset of half h (columns 16h..16h+15) of a block.
fn scale_of(s: Scales, h: u32) -> vec3<f32> {
    return vec3<f32>(s.scale, 0.0, 0.0);
}
