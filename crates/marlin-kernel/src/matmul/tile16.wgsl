// Cooperative matrices of 16 x 16 halves into f32: NVIDIA.
enable f16;
enable wgpu_cooperative_matrix;

const TILE: u32 = 16u;
alias MatrixA = coop_mat16x16<f16, A>;
alias MatrixB = coop_mat16x16<f16, B>;
alias MatrixC = coop_mat16x16<f32, C>;

// Whether matrices can be multiplied by a number.
const SCALES: bool = true;

fn scaled(c: MatrixC, factor: f32) -> MatrixC {
    return c * factor;
}
