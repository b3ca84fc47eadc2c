// A tile of 64 x 64 outputs of a product in f32, a block of 32 columns at a time, for 256 threads: what the
// plain product shaders share. A thread brings eight columns of one row of x and of one row of the weight,
// and holds the outputs of rows local / 16 + 16 i and columns local % 16 + 16 j.
//
//   x and the weight in workgroup memory (18 KiB): quad j of row r at r * PITCH + j
//
// Needs `Eight` of `weights`.

// Odd, so that the same quad of 8 rows lies in different banks.
const PITCH: u32 = 9u;

var<workgroup> xs: array<vec4<f32>, 64u * PITCH>;
var<workgroup> ws: array<vec4<f32>, 64u * PITCH>;

// Adds a block's part to the outputs: `w` and `x` are columns 8 * (local % 4) .. + 8 of row local / 4.
fn add_block(sums: ptr<function, array<vec4<f32>, 4>>, local: u32, w: Eight, x: Eight) {
    let to = (local / 4u) * PITCH + 2u * (local & 3u);
    workgroupBarrier();
    ws[to] = w.low;
    ws[to + 1u] = w.high;
    xs[to] = x.low;
    xs[to + 1u] = x.high;
    workgroupBarrier();
    for (var j = 0u; j < 8u; j += 1u) {
        let at = (local & 15u) * PITCH + j;
        let w0 = ws[at];
        let w1 = ws[at + 16u * PITCH];
        let w2 = ws[at + 32u * PITCH];
        let w3 = ws[at + 48u * PITCH];
        for (var i = 0u; i < 4u; i += 1u) {
            let row = xs[((local >> 4u) + 16u * i) * PITCH + j];
            (*sums)[i] += vec4<f32>(dot(row, w0), dot(row, w1), dot(row, w2), dot(row, w3));
        }
    }
}
