// Matrix multiply-adds and nothing else: what the device's matrix units can compute, for benches.
//
// grid: x = any; 128 threads, four subgroups of 32. ROUNDS rounds of 8 independent products a subgroup.
//#import tile
@group(0) @binding(7) var<storage, read_write> scratch: array<f32>;

const ROUNDS: u32 = 1024u;

var<workgroup> halves: array<f16, TILE * TILE>;
var<workgroup> outs: array<f32, 4u * TILE * TILE>;

@compute @workgroup_size(128)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    for (var i = local; i < TILE * TILE; i += 128u) {
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
    let c01 = c0 + c1;
    let c23 = c2 + c3;
    let c45 = c4 + c5;
    let c67 = c6 + c7;
    let half0 = c01 + c23;
    let half1 = c45 + c67;
    let all = half0 + half1;
    let at = subgroup * TILE * TILE;
    coopStoreT(all, &outs[at], stride);
    workgroupBarrier();
    scratch[group.x * 128u + local] = outs[local % (4u * TILE * TILE)];
}
