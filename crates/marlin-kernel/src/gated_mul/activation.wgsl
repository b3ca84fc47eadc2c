// How gated feed-forward layers make one value of gate and up: 0 is silu, 1 is gelu by tanh (arXiv
// 1606.08415), 2 is gpt-oss's swiglu of values held below `limit`.
//
// 0.5 x (1 + tanh u) = x / (1 + exp(-2 u)), which loses no digits where tanh is near -1.

fn activate(kind: u32, limit: f32, gate: f32, up: f32) -> f32 {
    var x = gate;
    var y = up;
    var slope = x;
    if kind == 1u {
        slope = 1.5957691216057308 * (x + 0.044715 * x * x * x);
    }
    if kind == 2u {
        x = min(gate, limit);
        y = clamp(up, -limit, limit) + 1.0;
        slope = 1.702 * x;
    }
    // Kept where exp does not overflow: the gate is 0 or 1 beyond.
    return x / (1.0 + exp(clamp(-slope, -80.0, 80.0))) * y;
}
