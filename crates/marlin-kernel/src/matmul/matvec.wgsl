// Products of a few rows, in f32 throughout: decoding. Weights move once for ROWS rows.
//
// grid: x = sum over products of ceil(outs / (8 OUTS)), y = ceil(rows / ROWS), z = heads; 256 threads.
// ROWS (1, 2, 4) rows of x and CHUNK blocks of their columns (64 for 1, 32 for 2 and 4: 8 or 17 KiB of
// workgroup memory, which decides how many workgroups run at a time) a workgroup; OUTS (1, 2, 4) weight rows
// a subgroup: they share what is read of x. NORM 1: x is normalised on the way, x * rsqrt(mean(x^2) + eps) *
// norm, and the workgroup (0, y, 0) stores it, elsewhere than x.
//
//                 CHUNK blocks of 32 columns at a time, x of them in workgroup memory
//              |  lane 0  |  lane 1  | ...              a lane: one block, OUTS rows
//   subgroup 0 |  OUTS rows                             sum over lanes at the end
//   subgroup 1 |
//
// Moves the weight once for ROWS rows; two operations for each weight and row.

//#import matmul/products
//#import matmul/stage

fn dot8(sum: f32, low: vec4<f32>, high: vec4<f32>, w: Eight) -> f32 {
    let a = fma(low.w, w.low.w, fma(low.z, w.low.z, fma(low.y, w.low.y, fma(low.x, w.low.x, sum))));
    return fma(high.w, w.high.w, fma(high.z, w.high.z, fma(high.y, w.high.y, fma(high.x, w.high.x, a))));
}

// The codes and scales of OUTS weight rows in one block. With names instead of indices: a compiler that does
// not unroll a loop over arrays puts them in memory.
struct Loaded {
    c0: Codes,
    c1: Codes,
    c2: Codes,
    c3: Codes,
    s0: Scales,
    s1: Scales,
    s2: Scales,
    s3: Scales,
}

// Where OUTS weight rows begin in the slab.
struct WeightRows {
    codes: vec4<u32>,
    scales: vec4<u32>,
}

// The rows from `first` of the product's head, the last one in place of those beyond it.
fn weight_rows(product: Product, head: u32, first: u32) -> WeightRows {
    let rows = vec4(first, first + 1u, first + 2u, first + 3u);
    let at = min(rows, vec4(product.outs - 1u)) + head * product.outs;
    return WeightRows(at * step.blocks + product.codes, at * step.groups + product.scales);
}

fn load_rows(rows: WeightRows, block: u32) -> Loaded {
    var l: Loaded;
    l.c0 = load_codes(rows.codes.x + block);
    l.s0 = load_scales(rows.scales.x, block, step.shift);
    if OUTS > 1u {
        l.c1 = load_codes(rows.codes.y + block);
        l.s1 = load_scales(rows.scales.y, block, step.shift);
    }
    if OUTS > 2u {
        l.c2 = load_codes(rows.codes.z + block);
        l.s2 = load_scales(rows.scales.z, block, step.shift);
        l.c3 = load_codes(rows.codes.w + block);
        l.s3 = load_scales(rows.scales.w, block, step.shift);
    }
    return l;
}

// What a half block has given so far: to the products of OUTS weight rows with each row of x, and of x alone.
struct Part {
    sums: array<vec4<f32>, ROWS>,
    x: array<f32, ROWS>,
}

// Adds eighth `i` of block b of the chunk.
fn add_eighth(part: Part, l: Loaded, i: u32, b: u32) -> Part {
    var next = part;
    let w0 = values8(l.c0, i);
    var w1: Eight;
    var w2: Eight;
    var w3: Eight;
    if OUTS > 1u { w1 = values8(l.c1, i); }
    if OUTS > 2u { w2 = values8(l.c2, i); w3 = values8(l.c3, i); }
    for (var m = 0u; m < ROWS; m += 1u) {
        let low = xs[(8u * m + 2u * i) * STRIDE + b];
        let high = xs[(8u * m + 2u * i + 1u) * STRIDE + b];
        if NEEDS_SUM {
            next.x[m] += dot(low + high, vec4<f32>(1.0));
        }
        next.sums[m].x = dot8(next.sums[m].x, low, high, w0);
        if OUTS > 1u { next.sums[m].y = dot8(next.sums[m].y, low, high, w1); }
        if OUTS > 2u {
            next.sums[m].z = dot8(next.sums[m].z, low, high, w2);
            next.sums[m].w = dot8(next.sums[m].w, low, high, w3);
        }
    }
    return next;
}

// Adds half `h` of block b of the chunk to the sums of OUTS weight rows with each row of x.
fn add_half(sums: array<vec4<f32>, ROWS>, l: Loaded, h: u32, b: u32) -> array<vec4<f32>, ROWS> {
    let part = add_eighth(add_eighth(Part(), l, 2u * h, b), l, 2u * h + 1u, b);
    var next = sums;
    for (var m = 0u; m < ROWS; m += 1u) {
        next[m].x += half_product(scale_of(l.s0, h), part.sums[m].x, part.x[m]);
        if OUTS > 1u { next[m].y += half_product(scale_of(l.s1, h), part.sums[m].y, part.x[m]); }
        if OUTS > 2u {
            next[m].z += half_product(scale_of(l.s2, h), part.sums[m].z, part.x[m]);
            next[m].w += half_product(scale_of(l.s3, h), part.sums[m].w, part.x[m]);
        }
    }
    return next;
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
    let rows = batch[step.rows_of];
    if group.y * ROWS >= rows {
        return;
    }
    let place = Place(local, subgroup, subgroups, lane, group.y * ROWS, rows, group.z);
    var inverse: array<f32, ROWS>;
    if NORM != 0u {
        inverse = inverse_rms(place);
    }
    let product = product_at(group.x);
    // Eight subgroups of 32 lanes take one pass; fewer and wider ones take more, of more some rest.
    for (var turn = 0u; turn < 8u; turn += subgroups) {
        let first = ((group.x - product.first) * 8u + turn + subgroup) * OUTS;
        let busy = turn + subgroup < 8u && first < product.outs;
        let weights = weight_rows(product, group.z, first);
        var sums: array<vec4<f32>, ROWS>;
        for (var start = 0u; start < step.blocks; start += CHUNK) {
            let count = min(CHUNK, step.blocks - start);
            // Weights are asked for one step before they are used: the first while x is brought in.
            var next = load_rows(weights, start + min(lane, count - 1u));
            workgroupBarrier();
            stage(place, inverse, group.x == 0u && turn == 0u, start);
            workgroupBarrier();
            for (var b = select(count, lane, busy); b < count; b += lanes) {
                let loaded = next;
                next = load_rows(weights, start + min(b + lanes, count - 1u));
                sums = add_half(add_half(sums, loaded, 0u, b), loaded, 1u, b);
            }
        }
        for (var m = 0u; m < ROWS; m += 1u) {
            let sum = subgroupAdd(sums[m]);
            for (var o = 0u; o < OUTS; o += 1u) {
                if lane == 0u && busy && first + o < product.outs && place.row + m < rows {
                    store_out(product, place.row + m, group.z, first + o, sum[o]);
                }
            }
        }
    }
}
