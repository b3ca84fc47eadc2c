// Cooperative matrices of 8 x 8, f16 into f32, loaded from single f16, since Metal's simdgroup_load takes no
// other pointer (Apple).
enable f16;
enable wgpu_cooperative_matrix;

const TILE: u32 = 8u;
alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sum = coop_mat8x8<f32, C>;

// Values of a cell of workgroup memory.
const CELL: u32 = 1u;
var<workgroup> staged: array<f16, STAGE>;

// Stores four values at `at`.
fn put(at: u32, values: vec4<f16>) {
    staged[at] = values.x;
    staged[at + 1u] = values.y;
    staged[at + 2u] = values.z;
    staged[at + 3u] = values.w;
}
