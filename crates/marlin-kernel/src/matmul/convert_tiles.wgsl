// x as f16 in `scratch`, in the order of `matvec_coop`: whole matrices, 16 rows of 16 halves, one after the
// other along K, for 16 rows and a head at a time; zeros beyond the last column, up to whole chunks.
//
//   chunk of 4 blocks    32 quads of columns, quad q of block b at 4 q + b: that is quad b of matrix q
//
// grid: x = ceil(chunks * 16 / 256), y = rows, z = heads; 256 threads. Moves x once, half of it back.

//#import matmul/step
//#import matmul/input
@group(0) @binding(7) var<storage, read_write> scratch: array<vec2<u32>>;

const CHUNK: u32 = 4u;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let chunks = (step.blocks + CHUNK - 1u) / CHUNK;
    let eight = group.x * 256u + local;
    if group.y >= batch[step.rows_of] || eight >= 16u * chunks {
        return;
    }
    let block = eight / 4u;
    let panel = (group.y / 16u) * groups.z + group.z;
    let matrix = (panel * chunks + block / CHUNK) * 8u + 2u * (eight % 4u);
    let to = matrix * 64u + (group.y % 16u) * 4u + block % CHUNK;
    scratch[to] = pack_halves(load_x(group.y, group.z, 8u * eight));
    scratch[to + 64u] = pack_halves(load_x(group.y, group.z, 8u * eight + 4u));
}
