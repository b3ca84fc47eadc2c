//! The harness catches players that are wrong on purpose, and names the kernel.

use std::panic::{AssertUnwindSafe, catch_unwind};

use marlin_kernel::{
    Batch, CaseResult, Error, Failure, KERNELS, Player, Precision, ReferencePlayer, SequenceRows,
    check_player, compare_steps, plan::Plan, sample::Choice,
};
use marlin_test::{Exception, Sabotage, Saboteur, agree, tiny_model};

fn reference(plan: Plan, page_size: usize, pages: usize) -> Result<Box<dyn Player>, Error> {
    Ok(Box::new(ReferencePlayer::new(plan, page_size, pages)?))
}

fn saboteur(
    kernel: &'static str,
    sabotage: Sabotage,
) -> impl Fn(Plan, usize, usize) -> Result<Box<dyn Player>, Error> {
    move |plan, page_size, pages| {
        Ok(Box::new(Saboteur::new(reference(plan, page_size, pages)?, kernel, sabotage)))
    }
}

#[test]
fn a_wrong_value_in_any_kernel_is_found_in_every_case_that_uses_it() {
    for kernel in KERNELS.iter().map(|kernel| kernel.name) {
        let results = check_player(saboteur(kernel, Sabotage::Value), Precision::Exact, kernel);
        assert!(results.iter().any(|result| result.outcome.is_err()), "{kernel}");
        for result in results.iter().filter(|result| result.outcome.is_ok()) {
            // Nothing can be wrong where no row is gathered.
            assert!(result.case.starts_with("no row"), "{result}");
        }
    }
}

#[test]
fn kernels_that_are_right_still_agree() {
    // Cases of cache_write read the cache back through attention.
    for (wrong, used_by) in [("rope", &["rope"][..]), ("attention", &["attention", "cache_write"])] {
        for kernel in ["rms_norm", "rope", "cache_write", "gather"] {
            let failed = |result: &CaseResult| result.outcome.is_err();
            let results = check_player(saboteur(wrong, Sabotage::Value), Precision::Exact, kernel);
            assert_eq!(results.iter().all(failed), used_by.contains(&kernel), "{wrong}, {kernel}");
            assert_eq!(results.iter().any(failed), used_by.contains(&kernel), "{wrong}, {kernel}");
        }
    }
}

#[test]
fn nan_and_stray_writes_are_found_as_such() {
    for result in check_player(saboteur("rms_norm", Sabotage::Nan), Precision::Exact, "rms_norm") {
        assert!(matches!(result.outcome, Err(Failure::NotFinite { .. })), "{result}");
    }
    let results = check_player(saboteur("attention", Sabotage::Outside), Precision::Exact, "attention");
    assert!(!results.is_empty());
    for result in results {
        assert!(matches!(result.outcome, Err(Failure::Touched { .. })), "{result}");
    }
}

#[test]
fn a_wrong_expert_is_found_as_a_word() {
    for result in check_player(saboteur("moe_route", Sabotage::Value), Precision::Exact, "moe_route") {
        assert!(matches!(result.outcome, Err(Failure::Word { .. })), "{result}");
    }
}

fn panic_of(body: impl FnOnce()) -> String {
    *catch_unwind(AssertUnwindSafe(body)).unwrap_err().downcast::<String>().unwrap()
}

#[test]
fn the_assertion_names_the_kernel_the_case_and_the_numbers() {
    let text = panic_of(|| agree(&saboteur("gated_mul", Sabotage::Value), Precision::Exact, &[]));
    assert!(
        text.starts_with("gated_mul, Silu, rows 1, width 1, out is apart: out: relative error 1.00e-2"),
        "{text}"
    );
}

#[test]
fn an_exception_excuses_its_cases_and_must_be_needed() {
    let reason = "wrong on purpose";
    let exception = Exception { kernel: "add", case: "", reason };
    agree(&saboteur("add", Sabotage::Value), Precision::Exact, &[exception]);
    let text = panic_of(|| agree(&reference, Precision::Exact, &[exception]));
    assert!(text.contains("every such case agrees, expected a failure"), "{text}");
}

#[test]
fn the_first_wrong_step_of_a_model_is_found() {
    let batch = Batch {
        tokens: vec![1, 3, 1, 4],
        positions: vec![0, 0, 1, 2],
        sequences: vec![
            SequenceRows { rows: 0..1, pages: vec![1] },
            SequenceRows { rows: 1..4, pages: vec![0] },
        ],
        outputs: vec![2, 3],
        choices: vec![Choice::default(); 2],
    };
    let plan = tiny_model("bf16");
    let mut truth = reference(plan.clone(), 16, 2).unwrap();
    let mut right = reference(plan.clone(), 16, 2).unwrap();
    let none = compare_steps(right.as_mut(), truth.as_mut(), &batch, Precision::Exact).unwrap();
    assert!(none.is_none(), "{}", none.unwrap());
    for kernel in KERNELS.iter().map(|kernel| kernel.name) {
        let mut wrong = saboteur(kernel, Sabotage::Value)(plan.clone(), 16, 2).unwrap();
        let found = compare_steps(wrong.as_mut(), truth.as_mut(), &batch, Precision::Exact).unwrap().unwrap();
        let first = plan.steps.iter().position(|step| step.op.kernel().name == kernel).unwrap();
        // A wrong cache shows where it is read first.
        let (step, name) = if kernel == "cache_write" { (first + 1, "attention") } else { (first, kernel) };
        assert_eq!((found.step, found.kernel), (step, name), "{found}");
        assert_eq!(found.label, plan.steps[step].label);
    }
}
