// What the matrix-product shaders share: up to four products of one input, in one dispatch.
//
//   out[row, head, o] (+)= tensor_scale * sum_k W[head * outs + o, k] x[row, head, k] + bias[o]
//
// A product of heads (grid z = heads) is a single one whose head h owns weight rows h * outs ... ; all else
// has one head. Weights of a dispatch lie in one slab and have one format and as many columns.
// Bindings: those of `step` and `weights`.

//#import matmul/step
//#import weights

const NONE: u32 = 0xffffffffu;

// The product that a workgroup of grid x belongs to.
fn product_at(tile: u32) -> Product {
    var at = 0u;
    for (var i = 1u; i < step.products; i += 1u) {
        at = select(at, i, tile >= step.product[i].first);
    }
    return step.product[at];
}

// Writes or adds one output; `sum` is without the tensor's scale.
fn store_out(product: Product, row: u32, head: u32, out: u32, sum: f32) {
    let at = product.out + row * product.out_stride + head * step.out_head + out;
    var value = product.tensor_scale * sum;
    if product.bias != NONE {
        value += vectors[product.bias + out];
    }
    if product.accumulate != 0u {
        value += arena[at];
    }
    arena[at] = value;
}
