// A scale and an offset in f32, two words per 16 or 32 columns: GGUF's formats. Bindings: 5 scales.

@group(0) @binding(5) var<storage, read> scales: array<u32>;

// Whether a zero point or an offset is used.
const SHIFTED: bool = true;

struct Scales {
    // Scale and offset of columns 0..15, then of columns 16..31.
    words: vec4<u32>,
}

// `row`: index of the row's first scale in the slab, counted in scales; `block` of 32 columns in the row;
// `shift`: log2(columns of a scale / 16).
fn load_scales(row: u32, block: u32, shift: u32) -> Scales {
    let low = 2u * (row + ((2u * block) >> shift));
    let high = 2u * (row + ((2u * block + 1u) >> shift));
    return Scales(vec4<u32>(scales[low], scales[low + 1u], scales[high], scales[high + 1u]));
}

// Scale, zero point and offset of half h (columns 16h..16h+15) of a block.
fn scale_of(s: Scales, h: u32) -> vec3<f32> {
    let pair = bitcast<vec2<f32>>(select(s.words.zw, s.words.xy, h == 0u));
    return vec3<f32>(pair.x, 0.0, pair.y);
}
