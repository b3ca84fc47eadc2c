//! The chosen experts of each token: `out += sum_i w_i * down[e_i] R (act(gate[e_i] x) * (up[e_i] x))`, and
//! last an expert that all share, with weight 1. R rotates blocks of columns as [`hadamard`](crate::hadamard)
//! does, or nothing.
//!
//! | argument | shape | type |
//! |---|---|---|
//! | x | `[rows, hidden]`, contiguous | f32 |
//! | experts | `[rows, top_k]`, contiguous, different in a row | u32 |
//! | weights | `[rows, top_k]`, contiguous | f32 |
//! | bank\[e\].gate, .up | `[intermediate, hidden]` | any format |
//! | bank\[e\].down | `[out.len(), intermediate]` | any format |
//! | bank\[e\].bias.gate, .up | `[1, intermediate]`, or none | f32 |
//! | bank\[e\].bias.down | `[1, out.len()]`, or none | f32 |
//! | shared | as those of the bank, or none | as those |
//! | out | `[rows, out.len()]`, contiguous | f32, added to |
//!
//! The intermediate width is the same for all experts, a multiple of the block if there is one; formats may
//! differ. Moves the matrices of the
//! experts that are chosen: at most `min(rows * top_k, experts)` of them, and the shared one. Two
//! operations for each weight of a chosen expert and row, `log2(block)` for each value that is rotated.

pub mod reference;

use marlin_format::{FORMATS, Format};

use crate::{
    Case, Cost, Error, Kernel, Precision, Random, RowRule, Tolerance, case,
    contract::Contract,
    gated_mul::activates,
    hadamard::{MAX_BLOCK, is_block},
    kernel::Work,
    plan::{Activation, Expert, ExpertBias, Op, Plan, Rows, Word},
};

/// The row of the table of kernels.
pub static KERNEL: Kernel = Kernel {
    name: "moe_experts",
    summary: "the gated feed-forward layers of the chosen experts, weighted and summed",
    rows: RowRule::Same,
    in_place: false,
    tolerance,
    cases,
    contract,
    cost,
    play: reference::play,
};

/// Two products after one another, the first of them multiplied with itself.
fn tolerance(precision: Precision) -> Tolerance {
    match precision {
        Precision::Exact => Tolerance::relative(5e-6),
        Precision::Int8Activations => Tolerance::relative(3e-2),
        Precision::HalfOperands => Tolerance::relative(2e-3),
    }
}

fn contract(op: &Op, c: &mut Contract<'_>) -> Result<(), Error> {
    let Op::MoeExperts { x, experts, weights, bank, shared, activation, rotation, out } = op else {
        unreachable!("{op:?} is no moe_experts")
    };
    activates(*activation, c)?;
    c.reads("x", x)?;
    c.contiguous("x", x)?;
    c.reads_words("experts", experts)?;
    c.contiguous("experts", experts)?;
    c.reads("weights", weights)?;
    c.contiguous("weights", weights)?;
    c.updates("out", out)?;
    c.contiguous("out", out)?;
    c.equal("columns of weights", weights.len(), experts.len())?;
    let top_k = experts.len();
    c.require("bank", bank.len() >= top_k, bank.len(), format_args!("{top_k} experts or more"))?;
    let intermediate = c.weight("gate", bank[0].gate)?.rows();
    c.require("gate", intermediate > 0, "no rows", "1 or more")?;
    if let Some(block) = rotation {
        let expected = format!("a power of two from 2 to {MAX_BLOCK}");
        c.require("rotation", is_block(*block), block, expected)?;
        let fits = intermediate.is_multiple_of(*block);
        c.require("rows of gate", fits, intermediate, format_args!("a multiple of {block}"))?;
    }
    for expert in bank.iter().chain(shared) {
        c.matrix("gate", expert.gate, intermediate, x.len())?;
        c.matrix("up", expert.up, intermediate, x.len())?;
        c.matrix("down", expert.down, out.len(), intermediate)?;
        let alike = expert.bias.is_some() == bank[0].bias.is_some();
        c.require("biases", alike, "of some experts", "of all or none")?;
        if let Some(bias) = expert.bias {
            c.vector("bias of gate", bias.gate, intermediate)?;
            c.vector("bias of up", bias.up, intermediate)?;
            c.vector("bias of down", bias.down, out.len())?;
        }
    }
    Ok(())
}

fn cost(op: &Op, work: &Work<'_>) -> Cost {
    let Op::MoeExperts { x, experts, bank, shared, rotation, out, .. } = op else {
        unreachable!("{op:?} is no moe_experts")
    };
    let uses = work.words(experts);
    let bytes = |expert: &Expert| -> usize {
        let matrices = [expert.gate, expert.up, expert.down];
        let biases = expert.bias.map(|bias| [bias.gate, bias.up, bias.down]);
        let all = matrices.into_iter().chain(biases.into_iter().flatten());
        all.map(|id| work.plan.weight(id).len_bytes()).sum()
    };
    // Formats may differ from expert to expert: count the mean.
    let total: usize = bank.iter().map(bytes).sum();
    let touched = uses.min(bank.len() as u64) * total as u64 / bank.len() as u64;
    let touched = touched + shared.iter().map(bytes).sum::<usize>() as u64;
    let uses = uses + if shared.is_some() { work.rows(x) } else { 0 };
    let intermediate = work.plan.weight(bank[0].gate).rows();
    let values = intermediate * (2 * x.len() + out.len());
    let rotating = intermediate * rotation.map_or(0, |block| block.ilog2() as usize);
    let operations = uses * (2 * values + rotating) as u64;
    Cost { bytes: work.activation_bytes() + touched, cache_values: 0, operations }
}

/// The sizes of a case.
#[derive(Clone, Copy)]
struct Sizes {
    rows: usize,
    hidden: usize,
    intermediate: usize,
    outs: usize,
    experts: usize,
    top_k: usize,
    shared: bool,
    bias: bool,
    rotation: Option<usize>,
}

const SMALL: Sizes = Sizes {
    rows: 1,
    hidden: 48,
    intermediate: 33,
    outs: 21,
    experts: 5,
    top_k: 3,
    shared: true,
    bias: false,
    rotation: None,
};
/// More outputs than a tile of a device has.
const TALL: Sizes =
    Sizes { rows: 150, hidden: 130, intermediate: 70, outs: 75, experts: 9, top_k: 2, ..SMALL };

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let silu = Activation::Silu;
    for format in FORMATS {
        // One is enough for what differs in the size of groups only.
        let all = if case::has_sibling(*format) { &[9][..] } else { &[1, 9, 17] };
        for &rows in all {
            let name = format!("rows {rows}, {}", format.name());
            cases.push(case(&name, &Sizes { rows, ..SMALL }, silu, |_| *format, spread));
        }
    }
    // Gate and up in formats of their own, each format once in either place, down in that of gate.
    let alone: Vec<&dyn Format> =
        FORMATS.iter().copied().filter(|format| !case::has_sibling(*format)).collect();
    for (at, format) in alone.iter().enumerate() {
        let other = alone[(at + 1) % alone.len()];
        let of = |matrix: usize| if matrix % 3 == 1 { other } else { *format };
        for rows in [3, 18] {
            let name = format!("rows {rows}, {} and {}", format.name(), other.name());
            cases.push(case(&name, &Sizes { rows, experts: 3, top_k: 2, ..SMALL }, silu, of, spread));
        }
    }
    let mixed = |matrix: usize| FORMATS[matrix % FORMATS.len()];
    let wide =
        Sizes { rows: 33, hidden: 31, intermediate: 17, experts: 13, top_k: 4, shared: false, ..SMALL };
    cases.push(case("rows 33, every format", &wide, silu, mixed, spread));
    let dense = |_| FORMATS[0];
    cases.push(case("rows 65, dense", &Sizes { rows: 65, ..wide }, silu, dense, spread));
    cases.push(case("gelu", &wide, Activation::GeluTanh, dense, spread));
    let clamped = Activation::ClampedSwiglu { limit: 0.75 };
    cases.push(case("clamped", &wide, clamped, dense, spread));
    cases.push(case("one hot expert", &Sizes { top_k: 1, ..wide }, silu, dense, |_, _| vec![7]));
    cases.push(case("every format, shared", &Sizes { rows: 17, shared: true, ..wide }, silu, mixed, spread));
    cases.push(case("rows 150, shared", &TALL, silu, dense, spread));
    cases.push(case("rows 150, one hot expert", &Sizes { top_k: 1, ..TALL }, silu, dense, |_, _| vec![3]));
    // As gpt-oss has them, and where gate and up do not share a dispatch.
    for (name, sizes) in [("few rows", Sizes { rows: 3, ..wide }), ("rows 150", TALL)] {
        let sizes = Sizes { bias: true, ..sizes };
        cases.push(case(&format!("biases, {name}"), &sizes, clamped, |_| mxfp4(), spread));
        cases.push(case(&format!("biases, {name}, every format"), &sizes, silu, mixed, spread));
    }
    // More columns than a device holds of a row at a time.
    let long = Sizes { hidden: 4128, intermediate: 17, experts: 2, top_k: 1, shared: false, ..SMALL };
    cases.push(case("rows 1, long, affine8", &long, silu, |_| affine8(), spread));
    cases.push(case("all experts chosen", &Sizes { rows: 3, top_k: 13, ..wide }, silu, dense, spread));
    // Blocks that a block of columns holds several of, that are one, and that are several.
    for (rows, block, intermediate) in [(3, 2, 34), (3, 16, 48), (5, 256, 512), (150, 32, 96), (150, 64, 320)]
    {
        let sizes = Sizes { rows, intermediate, rotation: Some(block), ..TALL };
        let name = format!("rows {rows}, rotated in blocks of {block}");
        cases.push(case(&name, &Sizes { bias: true, ..sizes }, silu, |_| mxfp4(), spread));
        cases.push(case(&format!("{name}, every format"), &sizes, silu, mixed, spread));
    }
    cases
}

fn affine8() -> &'static dyn Format {
    marlin_format::by_name("affine8").expect("it is a format")
}

fn mxfp4() -> &'static dyn Format {
    marlin_format::by_name("mxfp4").expect("it is a format")
}

/// Different random experts.
fn spread(random: &mut Random, sizes: &Sizes) -> Vec<usize> {
    random.permutation(sizes.experts).into_iter().take(sizes.top_k).collect()
}

fn case(
    name: &str,
    sizes: &Sizes,
    activation: Activation,
    format: impl Fn(usize) -> &'static dyn Format,
    choose: impl Fn(&mut Random, &Sizes) -> Vec<usize>,
) -> Case {
    let mut plan = Plan::default();
    let mut random = Random::new(sizes.rows as u64);
    let multiple = |matrix| format(matrix).layout().cols_multiple();
    let count = sizes.experts + usize::from(sizes.shared);
    let multiple = (0..3 * count).map(multiple).max().unwrap_or(1);
    let hidden = sizes.hidden.next_multiple_of(multiple);
    let intermediate = sizes.intermediate.next_multiple_of(multiple.max(sizes.rotation.unwrap_or(1)));
    let outs = sizes.outs;
    let mut bank: Vec<Expert> = (0..count)
        .map(|at| {
            let mut add = |matrix, rows, cols| {
                let weight = case::weight(&mut random, format(3 * at + matrix), rows, cols);
                plan.add_weight("expert", weight)
            };
            let (gate, up) = (add(0, intermediate, hidden), add(1, intermediate, hidden));
            let down = add(2, outs, intermediate);
            let mut vector = |len| plan.add_weight("bias", case::vector(&random.normals(len)));
            let bias = sizes.bias.then(|| ExpertBias {
                gate: vector(intermediate),
                up: vector(intermediate),
                down: vector(outs),
            });
            Expert { gate, up, down, bias }
        })
        .collect();
    let shared = if sizes.shared { bank.pop() } else { None };
    let x = plan.add_buffer("x", Rows::Tokens, hidden, Word::F32);
    let experts = plan.add_buffer("experts", Rows::Tokens, sizes.top_k, Word::U32);
    let weights = plan.add_buffer("weights", Rows::Tokens, sizes.top_k, Word::F32);
    let out = plan.add_buffer("out", Rows::Tokens, outs, Word::F32);
    let rotation = sizes.rotation;
    plan.add_step("experts", Op::MoeExperts { x, experts, weights, bank, shared, activation, rotation, out });
    let chosen = |rows: usize| {
        let rows = (0..rows).flat_map(|_| choose(&mut random, sizes));
        rows.map(|expert| f32::from_bits(expert as u32)).collect()
    };
    Case::rows(name, plan, sizes.rows).with_input(experts, chosen)
}

#[cfg(test)]
mod tests;
