// The second half of the experts for a few rows: out += sum over slots of weight * down[expert] hidden.
//
// grid: x = ceil(outs / (8 OUTS)), y = rows; 256 threads. OUTS (1, 2, 4) outputs a subgroup.
//
//               slot 0: blocks | slot 1: blocks | ...   a lane: one block of one slot at a time, OUTS rows
//   subgroup 0 |  OUTS outputs                          sum over lanes at the end
//
// Hidden comes from `scratch` as `gate_up` left it: lanes read neighbouring quads. Lanes of a subgroup take
// several slots' blocks in turn, so that few lanes rest.
// Moves down of each pair once; two operations for each weight and pair.

//#import moe_experts/expert
//#import weights
//#import moe_experts/dot
@group(0) @binding(7) var<storage, read_write> scratch: array<vec4<f32>>;

// What the biases of this dispatch's experts add to an output.
fn biases(row: u32, out: u32) -> f32 {
    var sum = 0.0;
    for (var slot = 0u; slot < select(0u, step.slots, step.biased == 1u); slot += 1u) {
        let expert = expert_of(row, slot);
        if is_here(expert, DOWN) {
            sum = fma(weight_of(row, slot), bias_of(expert, DOWN, out), sum);
        }
    }
    return sum;
}

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
    let row = group.y;
    if row >= batch[step.rows_of] {
        return;
    }
    let blocks = step.inner_blocks;
    for (var turn = 0u; turn < 8u; turn += subgroups) {
        let first = (group.x * 8u + turn + subgroup) * OUTS;
        let busy = turn + subgroup < 8u && first < step.outs;
        var sums: array<f32, OUTS>;
        for (var at = select(step.slots * blocks, lane, busy); at < step.slots * blocks; at += lanes) {
            let slot = at / blocks;
            let b = at % blocks;
            let expert = expert_of(row, slot);
            if !is_here(expert, DOWN) {
                continue;
            }
            let factor = weight_of(row, slot) * tensor_scale_of(expert, DOWN);
            let source = (row * step.slots + slot) * 8u * blocks + b;
            let codes_at = codes_of(expert, DOWN) + b;
            let scales_at = scales_of(expert, DOWN);
            var c: array<Codes, OUTS>;
            var s: array<Scales, OUTS>;
            for (var o = 0u; o < OUTS; o += 1u) {
                let w = min(first + o, step.outs - 1u);
                c[o] = load_codes(codes_at + w * blocks);
                s[o] = load_scales(scales_at + w * step.inner_groups, b, step.inner_shift);
            }
            for (var h = 0u; h < 2u; h += 1u) {
                var part: array<f32, OUTS>;
                var x_sum = 0.0;
                for (var i = 2u * h; i < 2u * h + 2u; i += 1u) {
                    let low = scratch[source + 2u * i * blocks];
                    let high = scratch[source + (2u * i + 1u) * blocks];
                    if NEEDS_SUM {
                        x_sum += dot(low + high, vec4<f32>(1.0));
                    }
                    for (var o = 0u; o < OUTS; o += 1u) {
                        part[o] = dot8(part[o], low, high, values8(c[o], i));
                    }
                }
                for (var o = 0u; o < OUTS; o += 1u) {
                    sums[o] += factor * half_product(scale_of(s[o], h), part[o], x_sum);
                }
            }
        }
        for (var o = 0u; o < OUTS; o += 1u) {
            let sum = subgroupAdd(sums[o]);
            if lane == 0u && busy && first + o < step.outs {
                arena[step.out + row * step.out_stride + first + o] += sum + biases(row, first + o);
            }
        }
    }
}
