// Cooperative matrices of 8 x 8 halves into f32: Apple.
enable f16;
enable wgpu_cooperative_matrix;

const TILE: u32 = 8u;
alias MatrixA = coop_mat8x8<f16, A>;
alias MatrixB = coop_mat8x8<f16, B>;
alias MatrixC = coop_mat8x8<f32, C>;

// Whether matrices can be multiplied by a number: not in Metal, so that `scaled` is never called.
const SCALES: bool = false;

fn scaled(c: MatrixC, factor: f32) -> MatrixC {
    return c;
}
