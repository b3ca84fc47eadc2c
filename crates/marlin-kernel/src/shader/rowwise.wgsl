// A list of row-wise operations on one row of the batch after another: norms, rotations, sums, copies.
//
// grid: x = rows, y = workgroups that share a row (1 if the list has several operations).
// A workgroup plays all operations of its row in order; each sees what the ones before it wrote.
//
//   16 words of `tables` an operation:
//   | kind | heads | width | extra | scale | x: base, stride, head stride | y: ... | out: ... | 0 | 0 |
//
// Moves every argument once.
//#import arena
@group(0) @binding(8) var<storage, read> tables: array<u32>;

struct Step {
    // First word of the list in `tables`, operations in it, 0 for token rows and 1 for output rows.
    first: u32,
    count: u32,
    rows_of: u32,
}
@group(0) @binding(0) var<uniform> step: Step;

// `heads` segments of `width` words, `head_stride` apart, in a row of `stride` words.
struct View {
    base: u32,
    stride: u32,
    head_stride: u32,
}

// An operation; what `extra` and `scale` are is said where they are used.
struct Micro {
    kind: u32,
    heads: u32,
    width: u32,
    extra: u32,
    scale: f32,
    x: View,
    y: View,
    out: View,
}

// Where a thread stands.
struct Place {
    row: u32,
    // Index among the threads that share the row, and how many they are.
    thread: u32,
    threads: u32,
    subgroup: u32,
    subgroups: u32,
    lane: u32,
    lanes: u32,
}

fn view(at: u32) -> View {
    return View(tables[at], tables[at + 1u], tables[at + 2u]);
}

// The word of segment `head`, column `col` of a view in a row.
fn word(view: View, row: u32, head: u32, col: u32) -> u32 {
    return view.base + row * view.stride + head * view.head_stride + col;
}

var<workgroup> sums: array<f32, 64>;

// The sum of `value` over the workgroup, for all its threads.
fn workgroup_sum(value: f32, place: Place) -> f32 {
    let part = subgroupAdd(value);
    if place.lane == 0u {
        sums[place.subgroup] = part;
    }
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < place.subgroups; i += 1u) {
        sum += sums[i];
    }
    workgroupBarrier();
    return sum;
}

//#import rms_norm/rms_norm
//#import rope/rope
//#import gated_mul/gated_mul
//#import add/add
//#import gather/gather
//#import hadamard/hadamard
//#import permute/permute
//#import cache_write/cache_write

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_size) lanes: u32,
) {
    if group.x >= batch[step.rows_of] {
        return;
    }
    let place = Place(group.x, group.y * 256u + local, groups.y * 256u, subgroup, subgroups, lane, lanes);
    for (var i = 0u; i < step.count; i += 1u) {
        let at = step.first + i * 16u;
        let op = Micro(
            tables[at], tables[at + 1u], tables[at + 2u], tables[at + 3u], bitcast<f32>(tables[at + 4u]),
            view(at + 5u), view(at + 8u), view(at + 11u),
        );
        switch op.kind {
            case 0u: { rms_norm(op, place); }
            case 1u: { rope(op, place); }
            case 2u: { gated_mul(op, place); }
            case 3u: { add(op, place); }
            case 4u: { gather(op, place); }
            case 5u: { hadamard(op, place); }
            case 6u: { permute(op, place); }
            default: { cache_write(op, place); }
        }
        storageBarrier();
    }
}
