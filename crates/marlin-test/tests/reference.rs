//! The reference player passes what every player must pass, and the tiny model is worth playing.

use std::collections::HashSet;

use marlin_kernel::{Error, KERNELS, Player, Precision, ReferencePlayer, plan::Plan};
use marlin_test::{agree, keeps_its_promises, play_in_chunks, tiny_model};

fn reference(plan: Plan, page_size: usize, pages: usize) -> Result<Box<dyn Player>, Error> {
    Ok(Box::new(ReferencePlayer::new(plan, page_size, pages)?))
}

#[test]
fn it_agrees_and_keeps_its_promises() {
    agree(&reference, Precision::Exact, &[]);
    keeps_its_promises(&reference, 0.0);
}

#[test]
fn the_tiny_model_uses_every_kernel() {
    let plan = tiny_model("f32");
    let used: HashSet<_> = plan.steps.iter().map(|step| step.op.kernel().name).collect();
    let all: HashSet<_> = KERNELS.iter().map(|kernel| kernel.name).collect();
    assert_eq!(used, all);
}

#[test]
fn the_tiny_model_plays_in_every_format() {
    for format in marlin_format::FORMATS {
        let mut player = reference(tiny_model(format.name()), 16, 1).unwrap();
        let logits = play_in_chunks(player.as_mut(), &[1, 2, 3], 3).unwrap();
        assert!(logits.len() == 3 * 29 && logits.iter().all(|logit| logit.is_finite()), "{}", format.name());
    }
}

#[test]
fn an_earlier_token_changes_later_logits_and_a_later_one_does_not_change_earlier_ones() {
    let mut player = reference(tiny_model("f32"), 16, 1).unwrap();
    let mut play = |tokens: &[u32]| play_in_chunks(player.as_mut(), tokens, 3).unwrap();
    let (plain, last, first) = (play(&[1, 2, 3]), play(&[1, 2, 4]), play(&[4, 2, 3]));
    assert_eq!(plain[..2 * 29], last[..2 * 29]);
    assert_ne!(plain[2 * 29..], last[2 * 29..]);
    assert_ne!(plain[2 * 29..], first[2 * 29..]);
}
