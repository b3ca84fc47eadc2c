// Products of a few rows, in f32 throughout: decoding. Weights move once for ROWS rows.
//
// grid: x = sum over products of ceil(outs / (8 OUTS STEPS)), y = ceil(rows / ROWS), z = heads; 256 threads.
// ROWS (1, 2, 4) rows of x and CHUNK blocks of their columns (64 for 1, 32 for 2 and 4: 8 or 17 KiB of
// workgroup memory, which decides how many workgroups run at a time) a workgroup; OUTS (1, 2, 4) weight rows
// a subgroup at once, STEPS (1, 2, 4) times one after another with the same x. NORM 1: x is normalised on the
// way, x * rsqrt(mean(x^2) + eps) * norm, and the workgroup (0, y, 0) stores it, elsewhere than x.
//
//                 CHUNK blocks of 32 columns at a time, x of them in workgroup memory
//              |  lane 0  |  lane 1  | ...              a lane: one block, OUTS rows, STEPS times
//   subgroup 0 |  OUTS rows, the next OUTS rows, ...    sum over lanes at the end
//   subgroup 1 |
//
//   x in workgroup memory: quad j of block b of row m at (8 m + j) * STRIDE + b; STRIDE is odd, so that
//   neither the writing of a block nor the reading of a quad by all lanes meets in a bank.
//
// Moves the weight once for ROWS rows; two operations for each weight and row.

//#import matmul/products

const STRIDE: u32 = CHUNK + 1u;
// Quads of a row of x that a thread brings.
const QUADS: u32 = CHUNK / 32u;

var<workgroup> xs: array<vec4<f32>, ROWS * 8u * STRIDE>;
var<workgroup> squares: array<f32, 64>;

// 1 / rms of each row of the workgroup, for all threads.
fn inverse_rms(place: Place) -> array<f32, ROWS> {
    var inverse: array<f32, ROWS>;
    for (var m = 0u; m < ROWS; m += 1u) {
        let row = step.x + min(place.row + m, place.rows - 1u) * step.x_stride;
        var sum = 0.0;
        for (var col = place.local; col < step.cols; col += 256u) {
            sum = fma(arena[row + col], arena[row + col], sum);
        }
        sum = subgroupAdd(sum);
        if place.lane == 0u {
            squares[place.subgroup] = sum;
        }
        workgroupBarrier();
        sum = 0.0;
        for (var i = 0u; i < place.subgroups; i += 1u) {
            sum += squares[i];
        }
        workgroupBarrier();
        inverse[m] = inverseSqrt(sum / f32(step.cols) + step.norm_eps);
    }
    return inverse;
}

// Four neighbours of columns col.., the last column in place of those beyond it.
fn columns(col: u32) -> vec4<u32> {
    return min(vec4<u32>(col, col + 1u, col + 2u, col + 3u), vec4<u32>(step.cols - 1u));
}

// Four columns of a row of x, zeros beyond the last column, without a branch: loads run side by side.
fn load_four(row: u32, head: u32, col: u32) -> vec4<f32> {
    let at = columns(col) + (step.x + row * step.x_stride + head * step.x_head);
    let x = vec4<f32>(arena[at.x], arena[at.y], arena[at.z], arena[at.w]);
    let inside = vec4<u32>(col, col + 1u, col + 2u, col + 3u) < vec4<u32>(step.cols);
    return select(vec4<f32>(0.0), x, inside);
}

// The norm's weight for four columns.
fn load_norm(col: u32) -> vec4<f32> {
    let at = columns(col) + step.norm;
    return vec4<f32>(vectors[at.x], vectors[at.y], vectors[at.z], vectors[at.w]);
}

fn store_norm(row: u32, col: u32, x: vec4<f32>) {
    for (var i = 0u; i < 4u && col + i < step.cols; i += 1u) {
        arena[step.norm_out + row * step.norm_out_stride + col + i] = x[i];
    }
}

// Brings a chunk of x, from block `first`, into workgroup memory.
fn stage(place: Place, inverse: array<f32, ROWS>, keep: bool, first: u32) {
    for (var m = 0u; m < ROWS; m += 1u) {
        let row = min(place.row + m, place.rows - 1u);
        var x: array<vec4<f32>, QUADS>;
        for (var i = 0u; i < QUADS; i += 1u) {
            x[i] = load_four(row, place.head, 32u * first + 4u * (place.local + 256u * i));
        }
        for (var i = 0u; i < QUADS; i += 1u) {
            let q = place.local + 256u * i;
            if NORM != 0u {
                let col = 32u * first + 4u * q;
                x[i] *= inverse[m] * load_norm(col);
                if keep && place.row + m < place.rows {
                    store_norm(row, col, x[i]);
                }
            }
            xs[(8u * m + (q & 7u)) * STRIDE + (q >> 3u)] = x[i];
        }
    }
}

fn dot8(sum: f32, low: vec4<f32>, high: vec4<f32>, w: Eight) -> f32 {
    let a = fma(low.w, w.low.w, fma(low.z, w.low.z, fma(low.y, w.low.y, fma(low.x, w.low.x, sum))));
    return fma(high.w, w.high.w, fma(high.z, w.high.z, fma(high.y, w.high.y, fma(high.x, w.high.x, a))));
}

// Where a thread stands.
struct Place {
    local: u32,
    subgroup: u32,
    subgroups: u32,
    lane: u32,
    // First row of x, rows of the batch, head.
    row: u32,
    rows: u32,
    head: u32,
}

// The codes and scales of OUTS weight rows in one block.
struct Loaded {
    codes: array<Codes, OUTS>,
    scales: array<Scales, OUTS>,
}

// Block `block` of the rows from `first` of the product's head.
fn load_rows(product: Product, head: u32, first: u32, block: u32) -> Loaded {
    var loaded: Loaded;
    for (var o = 0u; o < OUTS; o += 1u) {
        let row = head * product.outs + min(first + o, product.outs - 1u);
        loaded.codes[o] = load_codes(product.codes + row * step.blocks + block);
        loaded.scales[o] = load_scales(product.scales + row * step.groups, block, step.shift);
    }
    return loaded;
}

// What block b of the chunk gives to the sums of OUTS weight rows and ROWS rows of x.
fn products_of(loaded: Loaded, b: u32) -> array<f32, OUTS * ROWS> {
    var sums: array<f32, OUTS * ROWS>;
    for (var h = 0u; h < 2u; h += 1u) {
        var part: array<f32, OUTS * ROWS>;
        var x_sum: array<f32, ROWS>;
        for (var i = 2u * h; i < 2u * h + 2u; i += 1u) {
            var low: array<vec4<f32>, ROWS>;
            var high: array<vec4<f32>, ROWS>;
            for (var m = 0u; m < ROWS; m += 1u) {
                low[m] = xs[(8u * m + 2u * i) * STRIDE + b];
                high[m] = xs[(8u * m + 2u * i + 1u) * STRIDE + b];
                if NEEDS_SUM {
                    x_sum[m] += dot(low[m] + high[m], vec4<f32>(1.0));
                }
            }
            for (var o = 0u; o < OUTS; o += 1u) {
                let w = values8(loaded.codes[o], i);
                for (var m = 0u; m < ROWS; m += 1u) {
                    part[o * ROWS + m] = dot8(part[o * ROWS + m], low[m], high[m], w);
                }
            }
        }
        for (var o = 0u; o < OUTS; o += 1u) {
            let scale = scale_of(loaded.scales[o], h);
            for (var m = 0u; m < ROWS; m += 1u) {
                sums[o * ROWS + m] += half_product(scale, part[o * ROWS + m], x_sum[m]);
            }
        }
    }
    return sums;
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
        let first = ((group.x - product.first) * 8u + turn + subgroup) * (OUTS * STEPS);
        let busy = turn + subgroup < 8u && first < product.outs;
        var sums: array<f32, STEPS * OUTS * ROWS>;
        for (var start = 0u; start < step.blocks; start += CHUNK) {
            let count = min(CHUNK, step.blocks - start);
            // Weights are asked for one step before they are used: the first while x is brought in.
            var next = load_rows(product, group.z, first, start + min(lane, count - 1u));
            workgroupBarrier();
            stage(place, inverse, group.x == 0u && turn == 0u, start);
            workgroupBarrier();
            for (var b = select(count, lane, busy); b < count; b += lanes) {
                for (var t = 0u; t < STEPS; t += 1u) {
                    let loaded = next;
                    let last = t + 1u == STEPS;
                    let block = start + select(b, min(b + lanes, count - 1u), last);
                    next = load_rows(product, group.z, first + select((t + 1u) * OUTS, 0u, last), block);
                    let more = products_of(loaded, b);
                    for (var i = 0u; i < OUTS * ROWS; i += 1u) {
                        sums[t * OUTS * ROWS + i] += more[i];
                    }
                }
            }
        }
        for (var o = 0u; o < STEPS * OUTS; o += 1u) {
            for (var m = 0u; m < ROWS; m += 1u) {
                let sum = subgroupAdd(sums[o * ROWS + m]);
                if lane == 0u && busy && first + o < product.outs && place.row + m < rows {
                    store_out(product, place.row + m, group.z, first + o, sum);
                }
            }
        }
    }
}
