// What a matrix-product shader is told: the uniform of `matvec`, `matmul`, `convert` and their relatives.
// 256 bytes. Bindings: 0 step, and those of `arena`.

//#import arena

struct Product {
    // First block (of 32 columns) and first scale of the weight in its slab.
    codes: u32,
    scales: u32,
    // Rows of the weight, of one head of it.
    outs: u32,
    // First workgroup (grid x) of the product: the sum of the tiles before it.
    first: u32,
    // Arena word of row 0, head 0, output 0; words from row to row.
    out: u32,
    out_stride: u32,
    // First word of the bias in `vectors`, or NONE.
    bias: u32,
    // 1 if the result is added to what is there.
    accumulate: u32,
    // Factor of the whole weight; 1 where the format has none.
    tensor_scale: f32,
    unused0: u32,
    unused1: u32,
    unused2: u32,
}

struct Step {
    // 0: token rows, 1: output rows.
    rows_of: u32,
    // Input: arena word of row 0, head 0, column 0; words from row to row and from head to head.
    x: u32,
    x_stride: u32,
    x_head: u32,
    // Columns, blocks of 32 columns in a row of the weight, scales in one, log2(columns of a scale / 16).
    cols: u32,
    blocks: u32,
    groups: u32,
    shift: u32,
    // Products, 1 to 4; words from head to head of the output.
    products: u32,
    out_head: u32,
    // matvec with NORM: the norm's weight in `vectors`, the eps in its mean, where the normalised rows go.
    norm: u32,
    norm_eps: f32,
    norm_out: u32,
    norm_out_stride: u32,
    unused0: u32,
    unused1: u32,
    product: array<Product, 4>,
}
@group(0) @binding(0) var<uniform> step: Step;
