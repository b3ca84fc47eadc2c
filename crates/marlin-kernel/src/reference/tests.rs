//! The player itself: what it keeps, what it forgets, what it refuses.

use super::ReferencePlayer;
use crate::{
    Batch, Player, SequenceRows,
    case::matrix,
    plan::{AttentionShape, Op, Plan, Product, Rows, View, Word},
};

/// Embeds, attends with the embedding as query, key and value, and returns it all as logits.
fn plan() -> Plan {
    let mut plan = Plan::default();
    let table: Vec<f32> = (0..20).map(|at| (at * 7 % 11) as f32 / 4.0 - 1.0).collect();
    let table = plan.add_weight("table", matrix(10, 2, &table));
    let x = plan.add_buffer("x", Rows::Tokens, 2, Word::F32);
    let mixed = plan.add_buffer("mixed", Rows::Tokens, 2, Word::F32);
    let last = plan.add_buffer("last", Rows::Outputs, 2, Word::F32);
    let logits = plan.add_buffer("logits", Rows::Outputs, 10, Word::F32);
    let cache = plan.add_cache("cache", 2);
    let shape = AttentionShape {
        kv_heads: 1,
        k_start: 0,
        k_width: 2,
        v_start: 0,
        v_width: 2,
        scale: 0.7,
        window: None,
    };
    plan.add_step("embed", Op::Embed { table, scale: 1.0, out: x });
    plan.add_step("write", Op::CacheWrite { x, cache, start: 0 });
    plan.add_step("attend", Op::Attention { q: x, cache, shape, sinks: None, out: mixed });
    plan.add_step("residual", Op::Add { x: mixed, out: x });
    plan.add_step("gather", Op::Gather { x, out: last });
    let products = vec![Product { weight: table, bias: None, out: logits, accumulate: false }];
    plan.add_step("head", Op::MatMul { x: last, products });
    plan.logits = Some(logits.buffer);
    plan
}

/// Rows of one sequence from `first` on.
fn chunk(tokens: &[u32], first: u32, pages: &[u32]) -> (Batch, SequenceRows) {
    let rows = tokens.len() as u32;
    let sequence = SequenceRows { rows: 0..tokens.len(), pages: pages.to_vec() };
    let positions = (first..first + rows).collect();
    let outputs = (0..rows).collect();
    let sequences = vec![sequence.clone()];
    (Batch { tokens: tokens.to_vec(), positions, sequences, outputs, ..Batch::default() }, sequence)
}

#[test]
fn chunks_and_other_pages_give_the_same_logits() {
    let tokens = [3, 1, 4, 1, 5, 9, 2, 6];
    let mut player = ReferencePlayer::new(plan(), 3, 7).unwrap();
    let whole = player.play(&chunk(&tokens, 0, &[0, 1, 2]).0).unwrap();
    for len in [1, 3, 5] {
        let mut player = ReferencePlayer::new(plan(), 3, 7).unwrap();
        let mut logits = Vec::new();
        for (at, tokens) in tokens.chunks(len).enumerate() {
            logits.extend(player.play(&chunk(tokens, (at * len) as u32, &[5, 0, 3]).0).unwrap());
        }
        assert_eq!(logits, whole, "chunks of {len}");
    }
}

#[test]
fn sequences_of_one_batch_do_not_see_each_other() {
    let mut player = ReferencePlayer::new(plan(), 3, 7).unwrap();
    let (mut both, _) = chunk(&[3, 1, 4, 9, 9], 0, &[6, 0]);
    both.sequences[0].rows = 0..3;
    both.sequences.push(SequenceRows { rows: 3..5, pages: vec![2] });
    both.positions = vec![0, 1, 2, 0, 1];
    let both = player.play(&both).unwrap();
    let mut alone = player.play(&chunk(&[3, 1, 4], 0, &[1]).0).unwrap();
    alone.extend(player.play(&chunk(&[9, 9], 0, &[4]).0).unwrap());
    assert_eq!(both, alone);
}

#[test]
fn a_value_nobody_wrote_is_nan() {
    let mut player = ReferencePlayer::new(plan(), 3, 7).unwrap();
    let (batch, _) = chunk(&[1, 2], 0, &[0]);
    player.play(&batch).unwrap();
    player.begin(&batch).unwrap();
    player.run(3..4).unwrap();
    assert!(player.read(View::columns(crate::plan::BufferId(0), 0, 2).buffer).unwrap()[0].is_nan());
}

#[test]
fn writing_another_number_of_values_is_refused() {
    let mut player = ReferencePlayer::new(plan(), 3, 7).unwrap();
    player.begin(&chunk(&[1, 2], 0, &[0]).0).unwrap();
    let error = player.write(crate::plan::BufferId(0), &[0.0; 3]).unwrap_err().to_string();
    assert_eq!(error, "batch: values written: found 3, expected 4");
}

#[test]
fn a_refused_batch_changes_nothing() {
    let mut player = ReferencePlayer::new(plan(), 3, 7).unwrap();
    let logits = player.play(&chunk(&[1, 2], 0, &[0]).0).unwrap();
    assert!(player.begin(&chunk(&[10], 0, &[0]).0).is_err());
    assert!(player.begin(&chunk(&[1], 0, &[7]).0).is_err());
    assert_eq!(player.read(player.plan().logits.unwrap()).unwrap(), logits);
}

#[test]
fn a_plan_that_does_not_hold_together_is_refused() {
    let mut plan = plan();
    plan.caches.clear();
    assert!(ReferencePlayer::new(plan, 3, 7).is_err());
}
