// Matrix multiply-adds and nothing else: what the device's matrix units can compute, for benches.
//
// grid: x = any; 128 threads, four subgroups of 32. ROUNDS rounds of 8 independent products a subgroup.
//#import tile
@group(0) @binding(7) var<storage, read_write> scratch: array<f32>;

const ROUNDS: u32 = 1024u;
const SIZE: u32 = TILE * TILE;

var<workgroup> halves: array<f16, SIZE>;
var<workgroup> outs: array<f32, 32u * SIZE>;

@compute @workgroup_size(128)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    for (var i = local; i < SIZE; i += 128u) {
        halves[i] = f16(f32(i % 7u) * 0.03125);
    }
    workgroupBarrier();
    let first = 0u;
    let stride = TILE;
    let a = coopLoadT<MatrixA>(&halves[first], stride);
    let b = coopLoad<MatrixB>(&halves[first], stride);
    var c0: MatrixC; var c1: MatrixC; var c2: MatrixC; var c3: MatrixC;
    var c4: MatrixC; var c5: MatrixC; var c6: MatrixC; var c7: MatrixC;
    for (var round = 0u; round < ROUNDS; round += 1u) {
        c0 = coopMultiplyAdd(a, b, c0);
        c1 = coopMultiplyAdd(a, b, c1);
        c2 = coopMultiplyAdd(a, b, c2);
        c3 = coopMultiplyAdd(a, b, c3);
        c4 = coopMultiplyAdd(a, b, c4);
        c5 = coopMultiplyAdd(a, b, c5);
        c6 = coopMultiplyAdd(a, b, c6);
        c7 = coopMultiplyAdd(a, b, c7);
    }
    // Metal has no sum of two matrices: all are stored, and added there.
    let at = subgroup * 8u * SIZE;
    let at1 = at + SIZE; let at2 = at + 2u * SIZE; let at3 = at + 3u * SIZE; let at4 = at + 4u * SIZE;
    let at5 = at + 5u * SIZE; let at6 = at + 6u * SIZE; let at7 = at + 7u * SIZE;
    coopStoreT(c0, &outs[at], stride);
    coopStoreT(c1, &outs[at1], stride);
    coopStoreT(c2, &outs[at2], stride);
    coopStoreT(c3, &outs[at3], stride);
    coopStoreT(c4, &outs[at4], stride);
    coopStoreT(c5, &outs[at5], stride);
    coopStoreT(c6, &outs[at6], stride);
    coopStoreT(c7, &outs[at7], stride);
    workgroupBarrier();
    var sum = 0.0;
    for (var i = local; i < 32u * SIZE; i += 128u) {
        sum += outs[i];
    }
    scratch[group.x * 128u + local] = sum;
}
