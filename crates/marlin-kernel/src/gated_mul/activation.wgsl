// The gates of gated feed-forward layers: 0 is silu, 1 is gelu by tanh (arXiv 1606.08415).
//
// 0.5 x (1 + tanh u) = x / (1 + exp(-2 u)), which loses no digits where tanh is near -1.

fn activate(kind: u32, x: f32) -> f32 {
    var slope = x;
    if kind == 1u {
        slope = 1.5957691216057308 * (x + 0.044715 * x * x * x);
    }
    // Kept where exp does not overflow: the gate is 0 or 1 beyond.
    return x / (1.0 + exp(clamp(-slope, -80.0, 80.0)));
}
