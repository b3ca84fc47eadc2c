// Halves in workgroup memory one by one: Metal, whose matrix loads take pointers to halves.
enable f16;

const CELL: u32 = 1u;
alias Cell = f16;

// Four halves from `at`.
fn put(at: u32, x: vec4<f16>) {
    halves[at] = x.x;
    halves[at + 1u] = x.y;
    halves[at + 2u] = x.z;
    halves[at + 3u] = x.w;
}
