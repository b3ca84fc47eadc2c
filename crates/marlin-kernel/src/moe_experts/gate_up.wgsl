// The first half of the experts for a few rows, in f32 throughout: activation(gate x) * (up x).
//
// grid: x = ceil(inner / (8 OUTS)), y = pairs (rows * slots), z = 1, or 2 if SPLIT; 256 threads.
// OUTS (1, 2) rows of each matrix a subgroup. SPLIT 1: gate and up do not share a dispatch; z chooses the
// matrix, the sums go to `scratch` as they are, and `activate` follows.
//
//               blocks of 32 columns                    x in workgroup memory as in matmul/matvec
//   subgroup 0 |  OUTS rows of gate, OUTS rows of up    a lane: one block of all; sum over lanes at the end
//
//   scratch     | pair 0: quad 0 of all blocks | quad 1 of all blocks | ... quad 7 | pair 1 ...
//               (a quad: 4 columns of a block; SPLIT: gate's pairs, then up's)
//
// Moves gate and up of each pair once. Two operations for each weight and pair.

//#import moe_experts/expert
//#import moe_experts/input
//#import weights
//#import gated_mul/activation
//#import moe_experts/dot
@group(0) @binding(7) var<storage, read_write> scratch: array<f32>;

const CHUNK: u32 = 128u;
const STRIDE: u32 = CHUNK + 1u;
const MATRICES: u32 = 2u - SPLIT;
const ROWS: u32 = MATRICES * OUTS;

var<workgroup> xs: array<vec4<f32>, 8u * STRIDE>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_size) lanes: u32,
) {
    load_codebook(local);
    let pair = group.y;
    let row = pair / step.slots;
    let rows = batch[step.rows_of];
    if row >= rows {
        return;
    }
    let expert = expert_of(row, pair % step.slots);
    if !is_here(expert, group.z) {
        return;
    }
    var codes_at: array<u32, MATRICES>;
    var scales_at: array<u32, MATRICES>;
    for (var m = 0u; m < MATRICES; m += 1u) {
        codes_at[m] = codes_of(expert, group.z + m);
        scales_at[m] = scales_of(expert, group.z + m);
    }
    for (var turn = 0u; turn < 8u; turn += subgroups) {
        let first = (group.x * 8u + turn + subgroup) * OUTS;
        let busy = turn + subgroup < 8u && first < step.inner;
        var sums: array<f32, ROWS>;
        for (var start = 0u; start < step.blocks; start += CHUNK) {
            let count = min(CHUNK, step.blocks - start);
            workgroupBarrier();
            for (var q = local; q < 8u * count; q += 256u) {
                xs[(q & 7u) * STRIDE + (q >> 3u)] = load_x(row, 32u * start + 4u * q);
            }
            workgroupBarrier();
            for (var b = select(count, lane, busy); b < count; b += lanes) {
                var c: array<Codes, ROWS>;
                var s: array<Scales, ROWS>;
                for (var o = 0u; o < ROWS; o += 1u) {
                    let m = o / OUTS;
                    let w = min(first + o % OUTS, step.inner - 1u);
                    c[o] = load_codes(codes_at[m] + w * step.blocks + start + b);
                    s[o] = load_scales(scales_at[m] + w * step.groups, start + b, step.shift);
                }
                for (var h = 0u; h < 2u; h += 1u) {
                    var part: array<f32, ROWS>;
                    var x_sum = 0.0;
                    for (var i = 2u * h; i < 2u * h + 2u; i += 1u) {
                        let low = xs[2u * i * STRIDE + b];
                        let high = xs[(2u * i + 1u) * STRIDE + b];
                        if NEEDS_SUM {
                            x_sum += dot(low + high, vec4<f32>(1.0));
                        }
                        for (var o = 0u; o < ROWS; o += 1u) {
                            part[o] = dot8(part[o], low, high, values8(c[o], i));
                        }
                    }
                    for (var o = 0u; o < ROWS; o += 1u) {
                        sums[o] += half_product(scale_of(s[o], h), part[o], x_sum);
                    }
                }
            }
        }
        for (var o = 0u; o < OUTS; o += 1u) {
            let col = first + o;
            let own = min(col, step.inner - 1u);
            let sum = subgroupAdd(sums[o]);
            var value = fma(tensor_scale_of(expert, group.z), sum, bias_of(expert, group.z, own));
            if SPLIT == 0u {
                let up_sum = subgroupAdd(sums[o + ROWS - OUTS]);
                let up = fma(tensor_scale_of(expert, UP), up_sum, bias_of(expert, UP, own));
                value = activate(step.activation, step.limit, value, up);
            }
            if lane == 0u && busy && col < step.inner {
                let to = (group.z * rows * step.slots + pair) * step.inner_blocks * 32u;
                let quad = (col % 32u) / 4u;
                scratch[to + (quad * step.inner_blocks + col / 32u) * 4u + col % 4u] = value;
            }
        }
    }
    // The columns beyond the last are read with weights of zero: they must be numbers.
    if group.x == 0u {
        let to = (group.z * rows * step.slots + pair) * step.inner_blocks * 32u;
        for (var col = step.inner + local; col < step.inner_blocks * 32u; col += 256u) {
            scratch[to + ((col % 32u) / 4u * step.inner_blocks + col / 32u) * 4u + col % 4u] = 0.0;
        }
    }
}
