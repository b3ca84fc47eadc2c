// Halves in workgroup memory four to a cell: Vulkan, whose matrix loads take pointers to vectors.
enable f16;

const CELL: u32 = 4u;
alias Cell = vec4<f16>;

// Four halves from `at`, a multiple of 4.
fn put(at: u32, x: vec4<f16>) {
    halves[at / 4u] = x;
}
