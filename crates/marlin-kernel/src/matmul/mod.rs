//! Products of one input with several weights: `out = W x + bias`, or added to what `out` holds.
//!
//! | argument | shape | type |
//! |---|---|---|
//! | x | `[rows, cols]`, contiguous | f32 |
//! | products\[i\].weight | `[out.len(), cols]` | any format |
//! | products\[i\].bias | `[1, out.len()]` | f32 |
//! | products\[i\].out | `[rows, out.len()]`, contiguous | f32, written or added to |
//!
//! One row is the matrix-vector product of decoding, many rows that of a prompt. Weights are decoded
//! inside the product and move once. Two operations for each weight and row.

pub mod reference;
pub mod simd;

use marlin_format::{FORMATS, Format};

use crate::{
    Case, Cost, Error, Kernel, Precision, Random, RowRule, Tolerance, case,
    contract::Contract,
    kernel::Work,
    plan::{Op, Plan, Product, Rows, View, Word},
};

/// The row of the table of kernels.
pub static KERNEL: Kernel = Kernel {
    name: "matmul",
    summary: "activations times a quantized or dense weight, with bias and accumulation",
    rows: RowRule::Same,
    in_place: false,
    tolerance,
    cases,
    contract,
    cost,
    play: reference::play,
};

/// f32 sums in another order, or activations of 8 bits: a step of 1/127 of the largest of a block
/// costs about 0.6 % of a product's typical size, and more where large terms cancel. Two operands of 11
/// bits cost about 0.03 %.
pub(crate) fn tolerance(precision: Precision) -> Tolerance {
    match precision {
        Precision::Exact => Tolerance::relative(3e-6),
        Precision::Int8Activations => Tolerance::relative(2e-2),
        Precision::HalfOperands => Tolerance::relative(1e-3),
    }
}

fn contract(op: &Op, c: &mut Contract<'_>) -> Result<(), Error> {
    let Op::MatMul { x, products } = op else { unreachable!("{op:?} is no matmul") };
    c.reads("x", x)?;
    c.contiguous("x", x)?;
    c.require("products", !products.is_empty(), "none", "1 or more")?;
    for product in products {
        match product.accumulate {
            true => c.updates("out", &product.out)?,
            false => c.writes("out", &product.out)?,
        }
        c.contiguous("out", &product.out)?;
        c.matrix("weight", product.weight, product.out.len(), x.len())?;
        if let Some(bias) = product.bias {
            c.vector("bias", bias, product.out.len())?;
        }
    }
    Ok(())
}

fn cost(op: &Op, work: &Work<'_>) -> Cost {
    let Op::MatMul { x, products } = op else { unreachable!("{op:?} is no matmul") };
    let outs: usize = products.iter().map(|product| product.out.len()).sum();
    work.streaming(2 * work.words(x) * outs as u64)
}

/// Rows, outputs and columns: tails of every tile and group, and one row as in decoding.
const SHAPES: [(usize, usize, usize); 10] = [
    (1, 65, 160),
    (1, 33, 129),
    (17, 1, 31),
    (2, 16, 64),
    (3, 31, 100),
    (5, 8, 520),
    (16, 7, 48),
    (31, 17, 1),
    (33, 65, 272),
    (65, 3, 33),
];

fn cases() -> Vec<Case> {
    let mut cases = vec![several_products(1).with_tolerance(one_row), several_products(19), offset_views()];
    for (at, (rows, outs, cols)) in SHAPES.into_iter().enumerate() {
        for (format, cols) in case::formats(cols) {
            // A third is enough for what differs in the size of groups only.
            if case::has_sibling(format) && at % 4 != 0 {
                continue;
            }
            let mut plan = Plan::default();
            let seed = (rows + outs + cols) as u64;
            let weight = plan.add_weight("weight", case::weight(&mut Random::new(seed), format, outs, cols));
            let x = plan.add_buffer("x", Rows::Tokens, cols, Word::F32);
            let out = plan.add_buffer("out", Rows::Tokens, outs, Word::F32);
            let products = vec![Product { weight, bias: None, out, accumulate: false }];
            plan.add_step("product", Op::MatMul { x, products });
            let name = format!("rows {rows}, [{outs}, {cols}], {}", format.name());
            cases.push(Case::rows(name, plan, rows));
        }
    }
    let formats = case::formats(72).filter(|(format, _)| !case::has_sibling(*format));
    cases.extend(formats.map(|(format, cols)| after_a_norm(format, cols)));
    cases.extend(["f32", "fp4"].map(long_rows));
    cases
}

/// More columns than a device holds of a few rows at a time.
fn long_rows(format: &str) -> Case {
    let (mut plan, mut random) = (Plan::default(), Random::new(14));
    let cols = 2080;
    let x = plan.add_buffer("x", Rows::Tokens, cols, Word::F32);
    let format = marlin_format::by_name(format).expect("it is a format");
    let weight = plan.add_weight("weight", case::weight(&mut random, format, 5, cols));
    let out = plan.add_buffer("out", Rows::Tokens, 5, Word::F32);
    plan.add_step(
        "product",
        Op::MatMul { x, products: vec![Product { weight, bias: None, out, accumulate: false }] },
    );
    Case::chunks(format!("long rows, 1 and 3, {}", format.name()), plan, &[vec![(0, 0..1)], vec![(0, 1..4)]])
}

/// Products of what a norm makes, which a device may make on the way, and of its input, with each number of
/// rows that devices have kernels of their own for.
fn after_a_norm(format: &'static dyn Format, cols: usize) -> Case {
    let (mut plan, mut random) = (Plan::default(), Random::new(13));
    let x = plan.add_buffer("x", Rows::Tokens, cols, Word::F32);
    let normed = plan.add_buffer("normed", Rows::Tokens, cols, Word::F32);
    let scales: Vec<f32> = (0..cols).map(|col| 0.5 + (col % 7) as f32 / 4.0).collect();
    let weight = plan.add_weight("scales", case::vector(&scales));
    plan.add_step("norm", Op::RmsNorm { x, weight, eps: 1e-5, out: normed });
    for (x, outs) in [(normed, 19), (x, 33)] {
        let weight = plan.add_weight("weight", case::weight(&mut random, format, outs, cols));
        let out = plan.add_buffer("out", Rows::Tokens, outs, Word::F32);
        let products = vec![Product { weight, bias: None, out, accumulate: false }];
        plan.add_step("product", Op::MatMul { x, products });
    }
    let name = format!("after a norm, rows 1 to 3, {}", format.name());
    let plays = [vec![(0, 0..1)], vec![(0, 1..3)], vec![(0, 3..6)]];
    Case::chunks(name, plan, &plays).with_tolerance(one_row)
}

/// Random blocks of formats with offsets have rows of one sign: their products with a single row all
/// share the rounding error of its sum, which may be small itself.
fn one_row(precision: Precision) -> Tolerance {
    match precision {
        Precision::Int8Activations => Tolerance::relative(4e-2),
        _ => tolerance(precision),
    }
}

/// A product with each format from one input, every second with a bias, every third accumulated.
fn several_products(rows: usize) -> Case {
    let mut plan = Plan::default();
    let mut random = Random::new(11);
    let cols = FORMATS.iter().map(|format| format.layout().cols_multiple()).max().unwrap_or(1).max(96);
    let x = plan.add_buffer("x", Rows::Tokens, cols, Word::F32);
    let mut products = Vec::new();
    for (at, format) in FORMATS.iter().enumerate() {
        let outs = 17 + 3 * at;
        let weight = plan.add_weight(format.name(), case::weight(&mut random, *format, outs, cols));
        let bias = at.is_multiple_of(2).then(|| plan.add_weight("bias", case::vector(&random.normals(outs))));
        let out = plan.add_buffer(format.name(), Rows::Tokens, outs, Word::F32);
        products.push(Product { weight, bias, out, accumulate: at.is_multiple_of(3) });
    }
    plan.add_step("products", Op::MatMul { x, products });
    Case::rows(format!("rows {rows}, a product with every format, bias, accumulate"), plan, rows)
}

/// Input and outputs are columns in the middle of one wider buffer each.
fn offset_views() -> Case {
    let mut plan = Plan::default();
    let mut random = Random::new(12);
    let input = plan.add_buffer("input", Rows::Outputs, 64, Word::F32);
    let output = plan.add_buffer("output", Rows::Outputs, 64, Word::F32);
    let x = View::columns(input.buffer, 3, 37);
    let format = marlin_format::by_name("bf16").expect("bf16 is a format");
    let products = [(5, 11), (17, 40)].map(|(start, outs)| Product {
        weight: plan.add_weight("weight", case::weight(&mut random, format, outs, 37)),
        bias: None,
        out: View::columns(output.buffer, start, outs),
        accumulate: start == 17,
    });
    plan.add_step("products", Op::MatMul { x, products: products.into() });
    // Both buffers are inputs: the second product adds to its half of `output`.
    Case::chunks("columns of wider buffers", plan, &[vec![(0, 0..5), (1, 3..6), (2, 0..1)]])
}

#[cfg(test)]
mod tests;
