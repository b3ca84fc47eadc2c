//! Plans and batches that do not hold together are refused, each with its own words.

use proptest::prelude::*;

use crate::{
    Batch, Case, Kernel, Player, ReferencePlayer, SequenceRows, add, attention, cache_write,
    case::{matrix, vector},
    embed, gated_mul, gather, head_matmul, matmul, moe_experts, moe_route,
    plan::*,
    rms_norm, rope,
    sample::Choice,
};

/// The plan of a kernel's first case and the index of the kernel's step in it.
fn plan_of(kernel: &Kernel) -> (Plan, usize) {
    let Case { plan, .. } = (kernel.cases)().swap_remove(0);
    let step = plan.steps.iter().position(|step| step.op.kernel().name == kernel.name).unwrap();
    (plan, step)
}

/// What is said about the first case of a kernel after a change of its step.
fn refusal(kernel: &Kernel, change: impl Fn(&mut Op)) -> String {
    let (mut plan, step) = plan_of(kernel);
    plan.check().unwrap();
    change(&mut plan.steps[step].op);
    let error = plan.check().unwrap_err().to_string();
    let (prefix, message) = error.split_once("): ").unwrap();
    assert_eq!(prefix, format!("step {step} ({}", plan.steps[step].label));
    message.to_owned()
}

/// Takes an op apart, or fails the test.
macro_rules! change {
    ($kernel:expr, $pattern:pat => $change:expr) => {
        refusal(&$kernel, |op| match op {
            $pattern => $change,
            _ => panic!("{op:?}"),
        })
    };
}

#[test]
fn views_outside_their_buffer() {
    let change = |change: fn(&mut View)| change!(rms_norm::KERNEL, Op::RmsNorm { x, .. } => change(x));
    assert_eq!(change(|x| x.buffer = BufferId(7)), "x: found 7, expected fewer than 2");
    assert_eq!(change(|x| x.heads = 0), "x: found no columns, expected 1 or more");
    assert_eq!(change(|x| x.width = 0), "x: found no columns, expected 1 or more");
    let outside = "View { buffer: BufferId(0), start: 1, heads: 1, stride: 1, width: 1 }";
    assert_eq!(change(|x| x.start = 1), format!("x: found {outside}, expected 1 columns"));
    assert_eq!(change(|x| (x.heads, x.stride, x.width) = (2, 1, 2)), "x: found stride 1, expected 2 or more");
    assert!(change(|x| (x.heads, x.stride) = (usize::MAX, usize::MAX)).ends_with("expected 1 columns"));
    assert!(change(|x| x.start = usize::MAX).ends_with("expected 1 columns"));
}

#[test]
fn weights_that_are_missing_or_have_another_shape_or_format() {
    let (mut plan, _) = plan_of(&rms_norm::KERNEL);
    plan.weights[0].1 = vector(&[1.0, 1.0]);
    assert_eq!(plan.check().unwrap_err().to_string(), "step 0 (norm): weight: found [1, 2], expected [1, 1]");
    let half = marlin_format::by_name("f16").unwrap();
    plan.weights[0].1 = crate::Random::new(1).weight(half, 1, 1).unwrap();
    assert_eq!(plan.check().unwrap_err().to_string(), "step 0 (norm): weight: found f16, expected f32");
    plan.weights.clear();
    assert_eq!(
        plan.check().unwrap_err().to_string(),
        "step 0 (norm): weight: found 0, expected fewer than 0"
    );
}

#[test]
fn embed_arguments() {
    let (mut plan, _) = plan_of(&embed::KERNEL);
    plan.weights[0].1 = matrix(3, 64, &[0.0; 192]);
    assert_eq!(
        plan.check().unwrap_err().to_string(),
        "step 0 (embed): table: found [3, 64], expected [3, 65]"
    );
    plan.weights[0].1 = matrix(0, 65, &[]);
    assert_eq!(
        plan.check().unwrap_err().to_string(),
        "step 0 (embed): table: found no rows, expected 1 or more"
    );
    let message = change!(embed::KERNEL, Op::Embed { out, .. } => {
        *out = View { heads: 2, stride: 40, width: 20, ..*out }
    });
    assert_eq!(message, "out: found stride 40, expected 20");
}

#[test]
fn rms_norm_arguments() {
    let (mut plan, _) = plan_of(&rms_norm::KERNEL);
    let wide = plan.add_buffer("wide", Rows::Tokens, 4, Word::F32);
    let mut message = |view: View| {
        let Op::RmsNorm { out, .. } = &mut plan.steps[0].op else { unreachable!() };
        *out = view;
        plan.check().unwrap_err().to_string()
    };
    assert_eq!(message(wide), "step 0 (norm): width of out: found 4, expected 1");
    assert_eq!(message(wide.split(4)), "step 0 (norm): heads of out: found 4, expected 1");
    let eps = |value| change!(rms_norm::KERNEL, Op::RmsNorm { eps, .. } => *eps = value);
    assert_eq!(eps(f32::NAN), "eps: found NaN, expected a finite number, 0 or more");
    assert_eq!(eps(-1.0), "eps: found -1, expected a finite number, 0 or more");
}

#[test]
fn matmul_arguments() {
    let none = change!(matmul::KERNEL, Op::MatMul { products, .. } => products.clear());
    assert_eq!(none, "products: found none, expected 1 or more");
    let narrow = change!(matmul::KERNEL, Op::MatMul { x, .. } => x.width -= 1);
    let (plan, _) = plan_of(&matmul::KERNEL);
    let Op::MatMul { x, products } = &plan.steps[0].op else { unreachable!() };
    let (outs, cols) = (products[0].out.len(), x.len());
    assert_eq!(narrow, format!("weight: found [{outs}, {cols}], expected [{outs}, {}]", cols - 1));
    let apart = |x: &mut View| (x.heads, x.width, x.stride) = (2, 3, 4);
    let strided = change!(matmul::KERNEL, Op::MatMul { x, .. } => apart(x));
    assert_eq!(strided, "x: found stride 4, expected 3");
    let strided = change!(matmul::KERNEL, Op::MatMul { products, .. } => {
        products[0].out = View { heads: 2, stride: 3, width: 2, ..products[0].out }
    });
    assert_eq!(strided, "out: found stride 3, expected 2");
    let bias = change!(matmul::KERNEL, Op::MatMul { products, .. } => products[0].bias = products[2].bias);
    assert_eq!(bias, "bias: found [1, 23], expected [1, 17]");
    let twice = change!(matmul::KERNEL, Op::MatMul { products, .. } => products.push(products[0]));
    assert_eq!(twice, "out: found columns shared with out, expected columns of its own");
}

#[test]
fn a_result_over_an_input() {
    let mut plan = Plan::default();
    let x = plan.add_buffer("x", Rows::Tokens, 2, Word::F32);
    let weight = plan.add_weight("weight", matrix(2, 2, &[0.0; 4]));
    plan.add_step("product", Op::HeadMatMul { x, weight, out: x });
    let over = plan.check().unwrap_err().to_string();
    assert_eq!(over, "step 0 (product): out: found columns shared with x, expected columns of its own");
    let over = change!(add::KERNEL, Op::Add { x, out } => *out = *x);
    assert_eq!(over, "out: found columns shared with x, expected columns of its own");
    // In place means exactly the same columns, not some of them.
    let mut plan = Plan::default();
    let row = plan.add_buffer("row", Rows::Tokens, 9, Word::F32);
    let gate = View::columns(row.buffer, 0, 4);
    let mut message = |up: usize, out: usize| {
        let (up, out) = (View::columns(row.buffer, up, 4), View::columns(row.buffer, out, 4));
        plan.steps.clear();
        plan.add_step("gate", Op::GatedMul { gate, up, activation: Activation::Silu, out });
        plan.check().map_err(|error| error.to_string())
    };
    assert!(message(4, 0).is_ok() && message(4, 4).is_ok() && message(0, 5).is_ok());
    let shared = "step 0 (gate): out: found columns shared with gate, expected columns of its own";
    assert_eq!(message(5, 1).unwrap_err(), shared);
}

#[test]
fn interleaved_heads_do_not_overlap() {
    let mut plan = Plan::default();
    let row = plan.add_buffer("row", Rows::Tokens, 20, Word::F32).split(4);
    let frequencies = plan.add_weight("frequencies", vector(&[1.0]));
    let rope = |plan: &mut Plan, x: View, out: View| {
        plan.steps.clear();
        let style = RopeStyle::Half;
        plan.add_step("rope", Op::Rope { x, frequencies, style, scale: 1.0, out });
        plan.check()
    };
    assert!(rope(&mut plan, row.inner(0, 2), row.inner(2, 2)).is_ok());
    assert!(rope(&mut plan, row.inner(0, 2), row.inner(0, 2)).is_ok());
    assert!(rope(&mut plan, row.inner(0, 2), row.inner(1, 2)).is_err());
}

#[test]
fn head_matmul_arguments() {
    let heads = change!(head_matmul::KERNEL, Op::HeadMatMul { x, .. } => x.heads = 4);
    assert_eq!(heads, "heads of out: found 5, expected 4");
    let width = change!(head_matmul::KERNEL, Op::HeadMatMul { out, .. } => out.width = 32);
    assert!(width.ends_with("expected [160, 24]"), "{width}");
}

#[test]
fn rope_arguments() {
    let mut plan = Plan::default();
    let x = plan.add_buffer("x", Rows::Tokens, 3, Word::F32);
    let frequencies = plan.add_weight("frequencies", vector(&[1.0]));
    let style = RopeStyle::Half;
    plan.add_step("rope", Op::Rope { x, frequencies, style, scale: 1.0, out: x });
    let error = plan.check().unwrap_err().to_string();
    assert_eq!(error, "step 0 (rope): width of x: found 3, expected an even number");
    let scale = change!(rope::KERNEL, Op::Rope { scale, .. } => *scale = f32::INFINITY);
    assert_eq!(scale, "scale: found inf, expected a finite number");
}

#[test]
fn steps_that_need_positions_need_a_row_per_token() {
    let (mut plan, _) = plan_of(&rope::KERNEL);
    plan.buffers[0].rows = Rows::Outputs;
    let error = plan.check().unwrap_err().to_string();
    assert_eq!(error, "step 0 (rope): x: found a row per Outputs, expected a row per Tokens");
    let (mut plan, _) = plan_of(&add::KERNEL);
    plan.buffers[1].rows = Rows::Outputs;
    let error = plan.check().unwrap_err().to_string();
    assert_eq!(error, "step 0 (add): out: found a row per Outputs, expected a row per Tokens");
    plan.buffers[0].rows = Rows::Outputs;
    plan.check().unwrap();
    let (mut plan, _) = plan_of(&gather::KERNEL);
    plan.buffers[1].rows = Rows::Tokens;
    let error = plan.check().unwrap_err().to_string();
    assert_eq!(error, "step 0 (gather): out: found a row per Tokens, expected a row per Outputs");
}

#[test]
fn cache_arguments() {
    let unknown = change!(cache_write::KERNEL, Op::CacheWrite { cache, .. } => *cache = CacheId(1));
    assert_eq!(unknown, "cache: found 1, expected fewer than 1");
    let wide = change!(cache_write::KERNEL, Op::CacheWrite { start, .. } => *start = 9);
    assert_eq!(wide, "cache: found columns ..10, expected 9 columns");
    let far = change!(cache_write::KERNEL, Op::CacheWrite { start, .. } => *start = usize::MAX);
    assert!(far.ends_with("expected 9 columns"), "{far}");
}

#[test]
fn attention_arguments() {
    type With = fn(&mut AttentionShape);
    let change = |with: With| change!(attention::KERNEL, Op::Attention { shape, .. } => with(shape));
    assert_eq!(change(|shape| shape.k_width = 2), "width of q: found 1, expected 2");
    assert_eq!(change(|shape| shape.v_width = 2), "width of out: found 1, expected 2");
    assert_eq!(change(|shape| shape.kv_heads = 0), "key/value heads: found 0, expected a divisor of 1 heads");
    assert_eq!(change(|shape| shape.kv_heads = 2), "key/value heads: found 2, expected a divisor of 1 heads");
    assert_eq!(change(|shape| shape.window = Some(0)), "window: found 0, expected 1 or more");
    assert_eq!(change(|shape| shape.scale = f32::NAN), "scale: found NaN, expected a finite number");
    assert_eq!(change(|shape| shape.k_start = 3), "keys: found columns ..4, expected 3 columns");
    assert_eq!(change(|shape| shape.v_start = 4), "values: found columns ..5, expected 3 columns");
    let none = change!(attention::KERNEL, Op::Attention { sinks, .. } => *sinks = Some(WeightId(0)));
    assert_eq!(none, "sinks: found 0, expected fewer than 0");
}

#[test]
fn gated_mul_arguments() {
    let (mut plan, _) = plan_of(&gated_mul::KERNEL);
    let wide = plan.add_buffer("wide", Rows::Tokens, 2, Word::F32);
    let Op::GatedMul { up, .. } = &mut plan.steps[0].op else { unreachable!() };
    *up = wide;
    let error = plan.check().unwrap_err().to_string();
    assert_eq!(error, "step 0 (gate): width of up: found 2, expected 1");
}

#[test]
fn moe_route_arguments() {
    let change =
        |with: fn(&mut Routing)| change!(moe_route::KERNEL, Op::MoeRoute { routing, .. } => with(routing));
    assert_eq!(change(|routing| routing.top_k = 3), "columns of experts: found 4, expected 3");
    assert_eq!(change(|routing| routing.groups = 0), "groups: found 0, expected a divisor of 64 experts");
    assert_eq!(change(|routing| routing.groups = 3), "groups: found 3, expected a divisor of 64 experts");
    assert_eq!(
        change(|routing| routing.groups = 64),
        "groups: found 64, expected at least 2 experts in each"
    );
    assert_eq!(change(|routing| routing.top_groups = 2), "top_groups: found 2, expected 1 to 1");
    assert_eq!(change(|routing| routing.top_groups = 0), "top_groups: found 0, expected 1 to 1");
    assert_eq!(change(|routing| routing.groups = 32), "top_k: found 4, expected 1 to 2");
    assert_eq!(change(|routing| routing.scale = f32::NAN), "scale: found NaN, expected a finite number");
    let words = change!(moe_route::KERNEL, Op::MoeRoute { experts, weights, .. } => {
        std::mem::swap(experts, weights)
    });
    assert_eq!(words, "experts: found F32 words, expected U32 words");
}

#[test]
fn moe_experts_arguments() {
    let few = change!(moe_experts::KERNEL, Op::MoeExperts { bank, .. } => bank.truncate(2));
    assert_eq!(few, "bank: found 2, expected 3 experts or more");
    let swapped = change!(moe_experts::KERNEL, Op::MoeExperts { bank, .. } => bank[4].up = bank[4].down);
    assert_eq!(swapped, "up: found [21, 33], expected [33, 48]");
    let swapped = change!(moe_experts::KERNEL, Op::MoeExperts { bank, .. } => bank[1].down = bank[1].up);
    assert_eq!(swapped, "down: found [33, 48], expected [21, 33]");
    let fewer = change!(moe_experts::KERNEL, Op::MoeExperts { weights, .. } => weights.width = 2);
    assert_eq!(fewer, "columns of weights: found 2, expected 3");
    let zero = Activation::ClampedSwiglu { limit: 0.0 };
    let limit = change!(moe_experts::KERNEL, Op::MoeExperts { activation, .. } => *activation = zero);
    assert_eq!(limit, "limit: found 0, expected a finite number above 0");
    let turned =
        |block| change!(moe_experts::KERNEL, Op::MoeExperts { rotation, .. } => *rotation = Some(block));
    assert_eq!(turned(3), "rotation: found 3, expected a power of two from 2 to 256");
    assert_eq!(turned(2), "rows of gate: found 33, expected a multiple of 2");
    let biased = |at: usize| {
        change!(moe_experts::KERNEL, Op::MoeExperts { bank, .. } => {
            let matrix = bank[0].gate;
            bank[at].bias = Some(ExpertBias { gate: matrix, up: matrix, down: matrix });
        })
    };
    assert_eq!(biased(1), "biases: found of some experts, expected of all or none");
    assert_eq!(biased(0), "bias of gate: found [33, 48], expected [1, 33]");
}

#[test]
fn logits_are_f32_rows_per_output() {
    let message = |rows, word| {
        let mut plan = Plan::default();
        plan.logits = Some(plan.add_buffer("logits", rows, 5, word).buffer);
        plan.check().map_err(|error| error.to_string())
    };
    assert!(message(Rows::Outputs, Word::F32).is_ok());
    let rows = message(Rows::Tokens, Word::F32).unwrap_err();
    assert_eq!(rows, "step 0 (logits): rows: found Tokens, expected Outputs");
    let word = message(Rows::Outputs, Word::U32).unwrap_err();
    assert_eq!(word, "step 0 (logits): words: found U32, expected F32");
    let plan = Plan { logits: Some(BufferId(0)), ..Plan::default() };
    let missing = plan.check().unwrap_err().to_string();
    assert_eq!(missing, "step 0 (logits): buffer: found 0, expected fewer than 0");
}

/// A plan with a vocabulary of 31 and a cache, and a batch of two sequences that fits it.
fn batch() -> (Plan, Batch) {
    let (mut plan, _) = plan_of(&embed::KERNEL);
    plan.add_cache("cache", 1);
    let sequence = |rows, pages: &[u32]| SequenceRows { rows, pages: pages.to_vec() };
    let batch = Batch {
        tokens: vec![0, 30, 5],
        positions: vec![7, 8, 0],
        sequences: vec![sequence(0..2, &[4, 1, 3]), sequence(2..3, &[0])],
        outputs: vec![2, 1, 1],
        ..Batch::default()
    };
    (plan, batch)
}

#[test]
fn batches_that_do_not_fit() {
    let refusal = |change: fn(&mut Batch)| {
        let (plan, mut batch) = batch();
        batch.check(&plan, 4, 5).unwrap();
        change(&mut batch);
        let error = batch.check(&plan, 4, 5).unwrap_err().to_string();
        error.strip_prefix("batch: ").unwrap().to_owned()
    };
    assert_eq!(refusal(|batch| *batch = Batch::default()), "tokens: found 0, expected 1 or more");
    assert_eq!(
        refusal(|batch| batch.positions.truncate(2)),
        "positions: found 2, expected 3, one for each token"
    );
    assert_eq!(refusal(|batch| batch.outputs[1] = 3), "output row: found 3, expected fewer than 3");
    assert_eq!(refusal(|batch| batch.tokens[1] = 31), "token: found 31, expected fewer than 31");
    let rows = |found, next| {
        format!("rows of a sequence: found {found}, expected 1 or more from {next}, at most to 3")
    };
    assert_eq!(refusal(|batch| batch.sequences[0].rows = 1..2), rows("1..2", 0));
    assert_eq!(refusal(|batch| batch.sequences[0].rows = 0..0), rows("0..0", 0));
    assert_eq!(refusal(|batch| batch.sequences[1].rows = 1..3), rows("1..3", 2));
    assert_eq!(refusal(|batch| batch.sequences[1].rows = 2..4), rows("2..4", 2));
    let missing = refusal(|batch| batch.sequences.truncate(1));
    assert_eq!(missing, "rows of all sequences: found 2, expected 3");
    assert_eq!(refusal(|batch| batch.positions[1] = 7), "position: found 7, expected one after 7");
    assert_eq!(refusal(|batch| batch.positions[1] = 9), "position: found 9, expected one after 7");
    assert_eq!(
        refusal(|batch| batch.sequences[0].pages.truncate(2)),
        "pages of a sequence: found 2, expected 3 or more"
    );
    assert_eq!(refusal(|batch| batch.sequences[1].pages[0] = 5), "page: found 5, expected fewer than 5");
    assert_eq!(
        refusal(|batch| batch.sequences[1].pages[0] = 3),
        "page: found 3 written twice, expected a page of its own"
    );
    assert_eq!(
        refusal(|batch| batch.sequences[0].pages[2] = 1),
        "page: found 1 written twice, expected a page of its own"
    );
}

#[test]
fn a_page_that_is_only_read_may_be_shared() {
    let (plan, mut batch) = batch();
    batch.positions[2] = 4;
    batch.sequences[1].pages = vec![4, 0];
    batch.check(&plan, 4, 5).unwrap();
}

#[test]
fn the_last_position_does_not_overflow() {
    let (plan, mut batch) = batch();
    batch.positions = vec![u32::MAX, 0, 0];
    let error = batch.check(&plan, 4, 5).unwrap_err().to_string();
    assert_eq!(error, "batch: position: found 0, expected one after 4294967295");
    let error = batch.check(&plan, 0, 5).unwrap_err().to_string();
    assert_eq!(error, "batch: position: found 0, expected one after 4294967295");
    batch.positions = vec![7, 8, 0];
    let error = batch.check(&plan, 0, 5).unwrap_err().to_string();
    assert_eq!(error, "batch: page size: found 0, expected 1 or more");
}

fn numbers() -> impl Strategy<Value = usize> {
    prop_oneof![0..6usize, Just(usize::MAX), Just(usize::MAX / 2), Just(1 << 32)]
}

fn views() -> impl Strategy<Value = View> {
    (0..4u32, [numbers(), numbers(), numbers(), numbers()]).prop_map(
        |(buffer, [start, heads, stride, width])| View {
            buffer: BufferId(buffer),
            start,
            heads,
            stride,
            width,
        },
    )
}

fn ops() -> impl Strategy<Value = Op> {
    let views = [views(), views(), views(), views()];
    (0..15usize, views, [numbers(), numbers(), numbers(), numbers(), numbers()], 0..4u32).prop_map(
        |(kind, [a, b, c, d], [n, m, o, p, q], id)| {
            let (weight, cache) = (WeightId(id), CacheId(id));
            let shape = AttentionShape {
                kv_heads: n,
                k_start: m,
                k_width: a.width,
                v_start: o,
                v_width: b.width,
                scale: 1.0,
                window: Some(p),
            };
            let routing = Routing {
                scoring: Scoring::Sigmoid,
                top_k: b.width,
                groups: m,
                top_groups: o,
                normalize: q == 0,
                denominator_eps: 0.0,
                scale: 1.0,
            };
            let bias = (q == 1).then_some(ExpertBias { gate: weight, up: weight, down: weight });
            let bank = vec![Expert { gate: weight, up: weight, down: weight, bias }; n.min(3)];
            let (activation, style) = (Activation::Silu, RopeStyle::Half);
            match kind {
                0 => Op::Embed { table: weight, scale: 1.0, out: a },
                1 => Op::RmsNorm { x: a, weight, eps: 0.0, out: b },
                2 => {
                    let product = Product { weight, bias: Some(weight), out: b, accumulate: n == 0 };
                    Op::MatMul { x: a, products: vec![product] }
                }
                3 => Op::HeadMatMul { x: a, weight, out: b },
                4 => Op::Rope { x: a, frequencies: weight, style, scale: 1.0, out: b },
                5 => Op::CacheWrite { x: a, cache, start: n },
                6 => Op::Attention { q: a, cache, shape, sinks: Some(weight).filter(|_| q == 1), out: b },
                7 => Op::GatedMul { gate: a, up: b, activation, out: c },
                8 => Op::Add { x: a, out: b },
                9 => Op::MoeRoute { logits: a, bias: Some(weight), routing, experts: b, weights: c },
                10 => {
                    let shared = bank.first().copied().filter(|_| m == 0);
                    let rotation = Some(n).filter(|_| m == 1);
                    Op::MoeExperts {
                        x: a,
                        experts: b,
                        weights: c,
                        bank,
                        shared,
                        activation,
                        rotation,
                        out: d,
                    }
                }
                11 => Op::Gather { x: a, out: b },
                12 => Op::Hadamard { x: a, block: n, out: b },
                13 => Op::Permute { x: a, order: vec![m as u32; n.min(8)].into(), out: b },
                _ => Op::Sample { logits: a, out: b },
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Whatever the numbers, a plan is accepted or refused; one that is accepted plays.
    #[test]
    fn any_step_is_refused_or_plays(op in ops()) {
        let mut plan = Plan::default();
        plan.add_buffer("a", Rows::Tokens, 5, Word::F32);
        plan.add_buffer("b", Rows::Outputs, 4, Word::F32);
        plan.add_buffer("c", Rows::Tokens, 4, Word::U32);
        plan.add_buffer("d", Rows::Outputs, 1, Word::U32);
        for (rows, cols) in [(1, 2), (2, 2), (4, 1)] {
            plan.add_weight("weight", matrix(rows, cols, &vec![1.0; rows * cols]));
        }
        plan.add_cache("cache", 4);
        let experts = BufferId(2);
        plan.add_step("step", op);
        if plan.check().is_ok() {
            let sequences = vec![SequenceRows { rows: 0..2, pages: vec![0] }];
            let choices = if plan.sampling().is_some() { vec![Choice::default()] } else { Vec::new() };
            let mut player = ReferencePlayer::new(plan, 4, 1).unwrap();
            let batch =
                Batch { tokens: vec![0; 2], positions: vec![0, 1], sequences, outputs: vec![1], choices };
            player.begin(&batch).unwrap();
            player.write(experts, &[0.0; 8]).unwrap();
            player.run(0..1).unwrap();
        }
    }
}
