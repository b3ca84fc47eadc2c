//! The table of kernels is complete, and costs are what pencil and paper say.

use std::collections::HashSet;

use super::Cost;
use crate::{
    Batch, KERNELS, SequenceRows,
    case::matrix,
    plan::{AttentionShape, Expert, Op, Plan, Product, Rows, View, Word},
};

#[test]
fn names_differ_and_every_case_is_about_its_kernel() {
    let names: HashSet<_> = KERNELS.iter().map(|kernel| kernel.name).collect();
    assert_eq!(names.len(), KERNELS.len());
    for kernel in KERNELS {
        let cases = (kernel.cases)();
        let names: HashSet<_> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), cases.len(), "{}", kernel.name);
        assert!(cases.len() >= 4, "{}", kernel.name);
        for case in &cases {
            let about = case.plan.steps.iter().any(|step| step.op.kernel().name == kernel.name);
            assert!(about, "{}, {}", kernel.name, case.name);
        }
    }
}

#[test]
fn kernels_of_weights_have_a_case_in_every_format() {
    for name in ["embed", "matmul", "head_matmul", "moe_experts"] {
        let kernel = KERNELS.iter().find(|kernel| kernel.name == name).unwrap();
        let cases = (kernel.cases)();
        for format in marlin_format::FORMATS {
            let has = cases.iter().any(|case| case.name.ends_with(&format!(", {}", format.name())));
            assert!(has, "{name}, {}", format.name());
        }
    }
}

/// A plan of one step over buffers of 8 columns, and its cost on three rows: positions 0 and 1 of one
/// sequence, position 6 of another.
fn cost(op: impl FnOnce(&mut Plan, [View; 3]) -> Op) -> Cost {
    let mut plan = Plan::default();
    let mut buffer = |label, word| plan.add_buffer(label, Rows::Tokens, 8, word);
    let views = [buffer("a", Word::F32), buffer("b", Word::F32), buffer("c", Word::U32)];
    plan.add_cache("cache", 10);
    let op = op(&mut plan, views);
    plan.add_step("step", op);
    let sequence = |rows, pages| SequenceRows { rows, pages };
    let batch = Batch {
        tokens: vec![0; 3],
        positions: vec![0, 1, 6],
        sequences: vec![sequence(0..2, vec![0]), sequence(2..3, vec![1, 2])],
        ..Batch::default()
    };
    plan.check().unwrap();
    batch.check(&plan, 4, 3).unwrap();
    plan.cost(0, &batch).unwrap()
}

#[test]
fn a_product_moves_its_weight_once() {
    let found = cost(|plan, [x, out, _]| {
        let weight = plan.add_weight("weight", matrix(8, 8, &[0.0; 64]));
        Op::MatMul { x, products: vec![Product { weight, bias: None, out, accumulate: false }] }
    });
    // 3 rows of 8 in and out, 64 weights of 4 bytes; 3 x 64 multiplications and additions.
    assert_eq!(found, Cost { bytes: 4 * (24 + 24 + 64), cache_values: 0, operations: 2 * 3 * 64 });
}

#[test]
fn accumulation_reads_what_it_adds_to() {
    let found = cost(|_, [x, out, _]| Op::Add { x, out });
    assert_eq!(found, Cost { bytes: 4 * 3 * 24, cache_values: 0, operations: 24 });
}

#[test]
fn attention_moves_the_visible_rows_of_each_sequence_once() {
    let shape = |window| AttentionShape {
        kv_heads: 2,
        k_start: 0,
        k_width: 2,
        v_start: 2,
        v_width: 2,
        scale: 1.0,
        window,
    };
    let op = |window| {
        cost(|_, [q, out, _]| Op::Attention {
            q: q.split(4),
            cache: crate::plan::CacheId(0),
            shape: shape(window),
            sinks: None,
            out: out.split(4),
        })
    };
    // Visible are 1, 2 and 7 positions in 2 and 7 rows; keys are columns 0..4, values 2..6.
    assert_eq!(op(None), Cost { bytes: 4 * 48, cache_values: 9 * 6, operations: 10 * 4 * 2 * 4 });
    // A window of 2 leaves 1, 2 and 2 positions in 2 and 2 rows.
    assert_eq!(op(Some(2)), Cost { bytes: 4 * 48, cache_values: 4 * 6, operations: 5 * 4 * 2 * 4 });
}

#[test]
fn experts_that_nobody_can_choose_do_not_move() {
    let found = cost(|plan, [x, out, experts]| {
        let mut weight = || plan.add_weight("expert", matrix(8, 8, &[0.0; 64]));
        let mut expert = || Expert { gate: weight(), up: weight(), down: weight(), bias: None };
        let bank = (0..5).map(|_| expert()).collect();
        let weights = plan.add_buffer("weights", Rows::Tokens, 1, Word::F32);
        let experts = experts.inner(0, 1);
        let activation = crate::plan::Activation::Silu;
        Op::MoeExperts { x, experts, weights, bank, shared: None, activation, rotation: None, out }
    });
    // Three rows choose three of five experts at most; x 24, out 24 twice, 3 experts, 3 weights.
    let bytes = 4 * (24 + 48 + 3 + 3 + 3 * 3 * 64);
    assert_eq!(found, Cost { bytes, cache_values: 0, operations: 2 * 3 * 3 * 64 });
}
