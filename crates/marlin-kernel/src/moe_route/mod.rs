//! Chooses experts from router logits, as DeepSeek-V3, GLM-4.7 and Qwen3 do.
//!
//! | argument | shape | type |
//! |---|---|---|
//! | logits | `[rows, experts]`, contiguous | f32 |
//! | bias | `[1, experts]` | f32 |
//! | experts | `[rows, top_k]`, contiguous, best first | u32, written |
//! | weights | `[rows, top_k]`, contiguous | f32, written |
//!
//! 1. Score: sigmoid of each logit, or softmax over all; in f32 or better, rounded to f32.
//! 2. Choice: score + bias, rounded to f32. With groups, the `top_groups` groups with the largest sum
//!    of their two best choices stay. The `top_k` largest choices win; ties go to the lower index.
//! 3. Weight: the score, *without* bias; divided by the sum of the chosen scores plus
//!    `denominator_eps` if `normalize`; times `scale`.
//!
//! As in transformers, `modeling_glm4_moe_lite.py` and `modeling_qwen3_moe.py`. A NaN counts as the
//! smallest choice: the experts are valid whatever the logits. Moves the logits and the result once.

pub mod reference;

use crate::{
    Case, Cost, Error, Kernel, Random, RowRule, case,
    contract::Contract,
    kernel::{Work, single},
    plan::{Op, Plan, Routing, Rows, Scoring, Word},
};

/// The row of the table of kernels.
pub static KERNEL: Kernel = Kernel {
    name: "moe_route",
    summary: "chooses experts: sigmoid or softmax scores, bias, groups, top-k, weights",
    rows: RowRule::Same,
    in_place: false,
    tolerance: single,
    cases,
    contract,
    cost,
    play: reference::play,
};

fn contract(op: &Op, c: &mut Contract<'_>) -> Result<(), Error> {
    let Op::MoeRoute { logits, bias, routing, experts, weights } = op else {
        unreachable!("{op:?} is no moe_route")
    };
    c.reads("logits", logits)?;
    c.contiguous("logits", logits)?;
    c.writes_words("experts", experts)?;
    c.contiguous("experts", experts)?;
    c.writes("weights", weights)?;
    c.contiguous("weights", weights)?;
    let Routing { top_k, groups, top_groups, .. } = *routing;
    let count = logits.len();
    c.equal("columns of experts", experts.len(), top_k)?;
    c.equal("columns of weights", weights.len(), top_k)?;
    let divides = groups > 0 && count.is_multiple_of(groups);
    c.require("groups", divides, groups, format_args!("a divisor of {count} experts"))?;
    let size = count / groups;
    c.require("groups", groups == 1 || size >= 2, groups, "at least 2 experts in each")?;
    c.require("top_groups", (1..=groups).contains(&top_groups), top_groups, format_args!("1 to {groups}"))?;
    let kept = top_groups * size;
    c.require("top_k", (1..=kept).contains(&top_k), top_k, format_args!("1 to {kept}"))?;
    c.require("scale", routing.scale.is_finite(), routing.scale, "a finite number")?;
    bias.map_or(Ok(()), |bias| c.vector("bias", bias, count))
}

fn cost(op: &Op, work: &Work<'_>) -> Cost {
    let Op::MoeRoute { logits, weights, .. } = op else { unreachable!("{op:?} is no moe_route") };
    // A score and a bias for each expert, one pass over the choices for each of the best.
    work.streaming(work.words(logits) * (4 + weights.len() as u64))
}

/// DeepSeek-V3's way with one group, which is GLM-4.7's.
const SIGMOID: Routing = Routing {
    scoring: Scoring::Sigmoid,
    top_k: 4,
    groups: 1,
    top_groups: 1,
    normalize: true,
    denominator_eps: 1e-20,
    scale: 1.8,
};

/// Qwen3's way.
const SOFTMAX: Routing =
    Routing { scoring: Scoring::Softmax, top_k: 8, denominator_eps: 0.0, scale: 1.0, ..SIGMOID };

fn cases() -> Vec<Case> {
    let table = [
        ("sigmoid, 64 experts, bias", 64, true, SIGMOID),
        ("sigmoid, 13 experts, all chosen", 13, true, Routing { top_k: 13, ..SIGMOID }),
        ("sigmoid, one expert", 1, false, Routing { top_k: 1, ..SIGMOID }),
        ("sigmoid, not normalised", 33, true, Routing { normalize: false, ..SIGMOID }),
        (
            "sigmoid, 256 experts, 4 of 8 groups",
            256,
            true,
            Routing { top_k: 8, groups: 8, top_groups: 4, ..SIGMOID },
        ),
        ("sigmoid, 15 experts, 1 of 5 groups", 15, true, Routing { top_k: 3, groups: 5, ..SIGMOID }),
        ("softmax, 128 experts", 128, false, SOFTMAX),
        ("softmax, 31 experts, not normalised", 31, false, Routing { top_k: 3, normalize: false, ..SOFTMAX }),
        (
            "softmax, 24 experts, 2 of 3 groups, bias",
            24,
            true,
            Routing { groups: 3, top_groups: 2, ..SOFTMAX },
        ),
    ];
    let mut cases = Vec::new();
    for (name, experts, bias, routing) in table {
        for rows in [1, 3, 33] {
            cases.push(case(&format!("{name}, rows {rows}"), experts, bias, routing, rows, |random, _| {
                random.normal() + random.unit() as f32 / 64.0
            }));
        }
    }
    for (name, routing) in [("sigmoid", SIGMOID), ("softmax", SOFTMAX)] {
        let name = format!("{name}, equal logits");
        cases.push(case(&name, 24, false, routing, 3, |_, at| if at % 5 == 3 { 1.5 } else { -0.25 }));
    }
    let groups = Routing { groups: 6, top_groups: 2, ..SIGMOID };
    cases.push(case("sigmoid, equal groups", 24, false, groups, 3, |_, at| [0.5, 2.0, 2.0, -1.0][at % 4]));
    cases
}

/// A routing of `experts` logits, each made from the random numbers and its index.
fn case(
    name: &str,
    experts: usize,
    bias: bool,
    routing: Routing,
    rows: usize,
    logit: impl Fn(&mut Random, usize) -> f32,
) -> Case {
    let mut plan = Plan::default();
    let mut random = Random::new(experts as u64);
    let bias = bias.then(|| {
        // A large common offset, as trained biases have.
        let values: Vec<f32> = (0..experts).map(|_| 4.0 + 0.1 * random.normal()).collect();
        plan.add_weight("bias", case::vector(&values))
    });
    let logits = plan.add_buffer("logits", Rows::Tokens, experts, Word::F32);
    let chosen = plan.add_buffer("experts", Rows::Tokens, routing.top_k, Word::U32);
    let weights = plan.add_buffer("weights", Rows::Tokens, routing.top_k, Word::F32);
    plan.add_step("route", Op::MoeRoute { logits, bias, routing, experts: chosen, weights });
    let values = |rows| (0..rows * experts).map(|at| logit(&mut random, at)).collect();
    Case::rows(name, plan, rows).with_input(logits, values)
}

#[cfg(test)]
mod tests;
