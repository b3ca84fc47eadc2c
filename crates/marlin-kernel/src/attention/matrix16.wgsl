// Cooperative matrices of 16 x 16, f16 into f32, loaded from cells of four f16 (NVIDIA).
enable f16;
enable wgpu_cooperative_matrix;

const TILE: u32 = 16u;
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;

// Values of a cell of workgroup memory.
const CELL: u32 = 4u;
var<workgroup> staged: array<vec4<f16>, STAGE / CELL>;

// Stores four values at `at`, a multiple of 4.
fn put(at: u32, values: vec4<f16>) {
    staged[at / CELL] = values;
}
