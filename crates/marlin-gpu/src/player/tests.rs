//! A kernel that is broken on purpose is found by its name, wherever in a model it stands.

use std::{env, sync::Arc};

use marlin_format::{Format, Weight, by_name};
use marlin_kernel::{
    Batch, Precision, Random, ReferencePlayer, SequenceRows, compare_steps,
    plan::{
        Activation, AttentionShape, Expert, Op, Plan, Product, RopeStyle, Routing, Rows, Scoring, View,
        WeightId, Word,
    },
    shader::Variant,
};

use super::{CacheType, GpuOptions, GpuPlayer};
use crate::{
    Gpu, Opening,
    batch::Dims,
    lower::{Lowering, RowClass},
};

const HIDDEN: usize = 64;
const HEADS: usize = 2;

/// A layer with every kind of step.
fn plan() -> Plan {
    let mut plan = Plan::default();
    let mut random = Random::new(9);
    let mut add = |plan: &mut Plan, label: &str, format: &str, rows: usize, cols: usize| -> WeightId {
        // Products of rows keep about the size of their input, and router scores apart.
        let scale = if rows > 1 { (cols as f32).powf(-0.5) } else { 1.0 };
        let values: Vec<f32> = random.normals(rows * cols).into_iter().map(|value| scale * value).collect();
        let format: &'static dyn Format = by_name(format).unwrap();
        let weight = Weight::encode(format, rows, cols, &values, Default::default()).unwrap();
        plan.add_weight(label, weight)
    };
    let buffer = |plan: &mut Plan, label: &str, width| plan.add_buffer(label, Rows::Tokens, width, Word::F32);
    let [x, h, gate, up] = ["x", "h", "gate", "up"].map(|label| buffer(&mut plan, label, HIDDEN));
    let (logits, weights) = (buffer(&mut plan, "router", 5), buffer(&mut plan, "weights", 2));
    let experts = plan.add_buffer("experts", Rows::Tokens, 2, Word::U32);
    let picked = plan.add_buffer("picked", Rows::Outputs, HIDDEN, Word::F32);
    let table = add(&mut plan, "table", "fp4", 30, HIDDEN);
    plan.add_step("embed", Op::Embed { table, scale: 2.0, out: x });
    let weight = add(&mut plan, "norm", "f32", 1, HIDDEN);
    plan.add_step("norm", Op::RmsNorm { x, weight, eps: 0.1, out: h });
    let weight = add(&mut plan, "qkv", "fp4", HIDDEN, HIDDEN);
    let products = vec![Product { weight, bias: None, out: gate, accumulate: false }];
    plan.add_step("project", Op::MatMul { x: h, products });
    let frequencies = add(&mut plan, "frequencies", "f32", 1, HIDDEN / HEADS / 2);
    let q = gate.split(HEADS);
    plan.add_step("rope", Op::Rope { x: q, frequencies, style: RopeStyle::Half, scale: 1.0, out: q });
    let cache = plan.add_cache("cache", HIDDEN);
    plan.add_step("cache", Op::CacheWrite { x: gate, cache, start: 0 });
    let width = q.width;
    let shape = AttentionShape {
        kv_heads: HEADS,
        k_start: 0,
        k_width: width,
        v_start: 0,
        v_width: width,
        scale: 0.2,
        window: None,
    };
    plan.add_step("attention", Op::Attention { q, cache, shape, sinks: None, out: up.split(HEADS) });
    let weight = add(&mut plan, "heads", "int4", HIDDEN, width);
    plan.add_step("heads", Op::HeadMatMul { x: up.split(HEADS), weight, out: gate.split(HEADS) });
    let activation = Activation::Silu;
    plan.add_step("act", Op::GatedMul { gate, up, activation, out: gate });
    rearrange(&mut plan, gate, up, x);
    let weight = add(&mut plan, "router", "f32", 5, HIDDEN);
    let products = vec![Product { weight, bias: None, out: logits, accumulate: false }];
    plan.add_step("router", Op::MatMul { x: h, products });
    let routing = Routing {
        scoring: Scoring::Sigmoid,
        top_k: 2,
        groups: 1,
        top_groups: 1,
        normalize: true,
        denominator_eps: 0.0,
        scale: 1.5,
    };
    plan.add_step("route", Op::MoeRoute { logits, bias: None, routing, experts, weights });
    let bank = (0..5)
        .map(|_| Expert {
            gate: add(&mut plan, "gate", "fp4", 32, HIDDEN),
            up: add(&mut plan, "up", "fp4", 32, HIDDEN),
            down: add(&mut plan, "down", "fp4", HIDDEN, 32),
            bias: None,
        })
        .collect();
    let (shared, rotation, out) = (None, Some(16), h);
    plan.add_step("experts", Op::MoeExperts { x, experts, weights, bank, shared, activation, rotation, out });
    plan.add_step("gather", Op::Gather { x: View::columns(h.buffer, 0, HIDDEN), out: picked });
    plan
}

/// Adds `gate`, rotated and its columns turned round by way of `up`, to `x`.
fn rearrange(plan: &mut Plan, gate: View, up: View, x: View) {
    plan.add_step("rotate", Op::Hadamard { x: gate, block: 32, out: up });
    plan.add_step("order", Op::Permute { x: up, order: (0..HIDDEN as u32).rev().collect(), out: gate });
    plan.add_step("add", Op::Add { x: gate, out: x });
}

fn batch(rows: usize) -> Batch {
    Batch {
        tokens: (0..rows as u32).map(|row| (row * 7) % 30).collect(),
        positions: (0..rows as u32).collect(),
        sequences: vec![SequenceRows { rows: 0..rows, pages: vec![2, 0, 1] }],
        outputs: vec![0, rows as u32 - 1],
        ..Batch::default()
    }
}

fn open() -> Option<Arc<Gpu>> {
    match Gpu::open(&Opening { matrices: false, ..Opening::default() }) {
        Ok(gpu) => Some(gpu),
        Err(error) if env::var_os("MARLIN_REQUIRE_GPU").is_none_or(|value| value != "1") => {
            println!("skipped: {error}; MARLIN_REQUIRE_GPU=1 makes this a failure");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The first step that differs from the reference, in batches of many rows and of one.
fn first_difference(gpu: &Arc<Gpu>) -> Option<(&'static str, String)> {
    let options =
        GpuOptions { cache: Some(CacheType::F32), page_size: 16, pages: 3, ..GpuOptions::default() };
    let mut tested = GpuPlayer::new(plan(), gpu, &options).unwrap();
    let mut truth = ReferencePlayer::new(plan(), 16, 3).unwrap();
    [33, 1].into_iter().find_map(|rows| {
        let difference = compare_steps(&mut tested, &mut truth, &batch(rows), Precision::Exact).unwrap()?;
        Some((difference.kernel, difference.label))
    })
}

/// The variants that the plan takes in batches of many rows and of one.
fn variants(gpu: &Arc<Gpu>) -> Vec<Variant> {
    let options =
        GpuOptions { cache: Some(CacheType::F32), page_size: 16, pages: 3, ..GpuOptions::default() };
    let mut player = GpuPlayer::new(plan(), gpu, &options).unwrap();
    let mut variants = Vec::new();
    for rows in [33, 1] {
        player.take(&batch(rows)).unwrap();
        let class = RowClass::of(&Dims::of(&batch(rows)));
        for step in 0..player.plan.steps.len() {
            let GpuPlayer { plan, scene, rotations, arena, .. } = &player;
            let listing = Lowering::new(plan, scene, rotations, arena, class).lower(step..step + 1).unwrap();
            variants.extend(listing.dispatches.into_iter().map(|dispatch| dispatch.variant));
        }
    }
    variants
}

/// Shader, what is changed in it, and the step that shows it first.
const BROKEN: &[(&str, &str, &str, &str, &str)] = &[
    ("embed/embed", "step.scale * values.low[i]", "values.low[i]", "embed", "embed"),
    ("shader/rowwise", "f32(op.width) + op.scale", "f32(op.width)", "rms_norm", "norm"),
    ("matmul/matmul", "block < step.blocks;", "block + 1u < step.blocks;", "matmul", "project"),
    ("shader/rowwise", "u * cosine - v * sine", "u * cosine + v * sine", "rope", "rope"),
    ("attention/attend", "* step.scale", "", "attention", "attention"),
    ("shader/rowwise", "op.scale, gate, up)", "op.scale, gate, 1.0)", "gated_mul", "act"),
    (
        "shader/rowwise",
        "+= arena[word(op.x, place.row, head, col)]",
        "= arena[word(op.x, place.row, head, col)]",
        "add",
        "add",
    ),
    ("shader/rowwise", "countOneBits(col & j)", "countOneBits(col)", "hadamard", "rotate"),
    ("shader/rowwise", "tables[op.extra + col]", "col", "permute", "order"),
    ("moe_route/moe_route", "/ divisor * step.scale", "/ divisor", "moe_route", "route"),
    ("moe_experts/combine", "slot < step.slots", "slot + 1u < step.slots", "moe_experts", "experts"),
    ("moe_experts/gate_up", "value, up)", "value, 1.0)", "moe_experts", "experts"),
    ("moe_experts/rotate", "(local & bit) != 0u", "(local & 1u) != 0u", "moe_experts", "experts"),
    ("shader/rowwise", "batch[batch[7] + place.row]", "place.row", "gather", "gather"),
];

#[test]
fn kernels_agree_before_they_are_broken() {
    let Some(gpu) = open() else { return };
    assert_eq!(first_difference(&gpu), None);
}

#[test]
fn a_broken_kernel_is_found_by_name() {
    for (file, what, with, kernel, label) in BROKEN {
        let Some(gpu) = open() else { return };
        let mut changed = 0;
        for variant in variants(&gpu).iter().filter(|variant| variant.file == *file) {
            let text = variant.source().text;
            if text.contains(what) {
                gpu.pipelines.replace(&gpu, variant, &text.replace(what, with)).unwrap();
                changed += 1;
            }
        }
        assert!(changed > 0, "{file} has no {what:?}");
        assert_eq!(first_difference(&gpu), Some((*kernel, (*label).to_owned())), "{file}: {what} -> {with}");
    }
}
