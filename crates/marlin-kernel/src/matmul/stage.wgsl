// How `matvec` brings rows of x into workgroup memory, a chunk at a time, normalised if NORM is 1.
//
//   x in workgroup memory: quad j of block b of row m at (8 m + j) * STRIDE + b; STRIDE is odd, so that
//   neither the writing of a block nor the reading of a quad by all lanes meets in a bank.
//
// Constants: ROWS, CHUNK, NORM. Bindings: those of `step`. 256 threads.

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
