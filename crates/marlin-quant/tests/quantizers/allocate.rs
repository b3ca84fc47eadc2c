//! Allocation against all choices there are, and against its own bound.

use marlin_quant::{Cost, allocate, together};

use crate::random::Random;

/// The least loss of all choices within the budget.
fn by_trying_all(units: &[Vec<Cost>], budget: u64) -> Option<f64> {
    let Some((first, rest)) = units.split_first() else { return Some(0.0) };
    let of = |cost: &Cost| Some(cost.loss + by_trying_all(rest, budget.checked_sub(cost.bytes)?)?);
    first.iter().filter_map(of).min_by(f64::total_cmp)
}

fn check(units: &[Vec<Cost>], budget: u64) -> Cost {
    let found = allocate(units, budget).unwrap();
    let cost: Cost = units.iter().zip(&found.chosen).map(|(options, &chosen)| options[chosen]).sum();
    assert_eq!(cost, found.cost);
    assert!(cost.bytes <= budget);
    assert!(found.bound <= cost.loss);
    cost
}

/// Options of a tensor of so many weights: 2 to 8 bits, a loss that falls fourfold a bit and wavers.
fn options(random: &mut Random, weights: u64, count: usize) -> Vec<Cost> {
    let sensitivity = (3.0 * random.uniform()).exp();
    let option = |bits: u64| Cost {
        bytes: weights * bits / 8,
        loss: sensitivity * weights as f64 * 4f64.powi(-(bits as i32)) * (0.3 + random.uniform()),
    };
    [2, 3, 4, 5, 6, 8].map(option)[..count].to_vec()
}

#[test]
fn small_problems_are_solved_exactly() {
    let mut random = Random(1);
    for case in 0..400 {
        let count = case % 7;
        let mut any = |most: u64| 1 + random.bits() % most;
        let sizes: Vec<(u64, usize)> = (0..count).map(|_| (8 * any(100), any(6) as usize)).collect();
        let structured = case % 2 == 0;
        let units: Vec<Vec<Cost>> = sizes
            .into_iter()
            .map(|(weights, count)| match structured {
                true => options(&mut random, weights, count),
                false => (0..count)
                    .map(|_| Cost { bytes: random.bits() % 40, loss: (10.0 * random.uniform()).floor() })
                    .collect(),
            })
            .collect();
        let most: u64 = units.iter().flatten().map(|cost| cost.bytes).sum();
        for _ in 0..4 {
            let budget = random.bits() % (most + 1);
            match by_trying_all(&units, budget) {
                Some(least) => {
                    let cost = check(&units, budget);
                    assert!((cost.loss - least).abs() <= 1e-9 * least.max(1.0), "{cost:?}, least {least}");
                }
                None => assert!(allocate(&units, budget).is_err()),
            }
        }
    }
}

#[test]
fn models_come_close_to_the_bound_and_beat_every_uniform_choice() {
    let mut random = Random(2);
    let sizes = [1 << 12, 3 << 12, 1 << 16];
    let units: Vec<Vec<Cost>> = (0..600).map(|unit| options(&mut random, sizes[unit % 3], 6)).collect();
    for option in 0..6 {
        let uniform: Cost = units.iter().map(|options| options[option]).sum();
        let found = allocate(&units, uniform.bytes).unwrap();
        let gap = (found.cost.loss - found.bound) / found.bound;
        println!(
            "option {option}: uniform {:.4e}, found {:.4e}, gap {gap:.1e}",
            uniform.loss, found.cost.loss
        );
        assert!(check(&units, uniform.bytes).loss <= uniform.loss);
        assert!(option == 0 || option == 5 || found.cost.loss < 0.8 * uniform.loss);
        assert!(gap < 1e-3, "gap {gap}");
    }
}

#[test]
fn a_large_tensor_leaves_none_of_the_budget_over() {
    let mut random = Random(3);
    let mut units: Vec<Vec<Cost>> =
        (0..210).map(|unit| options(&mut random, 1 << (15 + unit % 3), 6)).collect();
    let layers: u64 = units.iter().map(|options| options[0].bytes * 4).sum();
    // A fifth of the model, with two thirds of what is lost.
    let loss: f64 = units.iter().map(|options| options[2].loss).sum();
    let embedding = options(&mut random, layers / 4, 6);
    let scale = 2.0 * loss / embedding[2].loss;
    units.push(embedding.into_iter().map(|cost| Cost { loss: scale * cost.loss, ..cost }).collect());
    for tenths in (22..60).step_by(4) {
        let budget = (layers + layers / 4) * tenths / 80;
        let found = allocate(&units, budget).unwrap();
        check(&units, budget);
        let gap = (found.cost.loss - found.bound) / found.bound;
        println!("{}.{} bits: {:.4e}, gap {gap:.1e}", tenths / 10, tenths % 10, found.cost.loss);
        assert!(gap < 5e-3, "gap {gap}");
    }
}

#[test]
fn what_shares_a_choice_is_one_unit() {
    let cost = |bytes, loss| Cost { bytes, loss };
    let (gate, up) = ([cost(1, 9.0), cost(2, 4.0)], [cost(1, 1.0), cost(2, 0.5)]);
    assert_eq!(together(&[&gate, &up]), [cost(2, 10.0), cost(4, 4.5)]);
    // Apart, three bytes would go to the first; together they suffice for the smallest only.
    assert_eq!(allocate(&[together(&[&gate, &up])], 3).unwrap().cost, cost(2, 10.0));
    assert_eq!(allocate(&[gate.to_vec(), up.to_vec()], 3).unwrap().cost, cost(3, 5.0));
    assert!(together(&[]).is_empty());
}

#[test]
fn budgets_too_small_and_losses_that_are_not_numbers_are_refused() {
    let cost = |bytes, loss| Cost { bytes, loss };
    let units = [vec![cost(10, 1.0), cost(12, f64::NAN)], vec![cost(5, 2.0)]];
    let text = |budget| allocate(&units, budget).unwrap_err().to_string();
    assert_eq!(text(14), "a budget of 14 bytes: the smallest choice takes 15");
    assert_eq!(allocate(&units, 100).unwrap().chosen, [0, 0]);
    let none = [vec![cost(1, 1.0)], vec![cost(1, f64::INFINITY)]];
    assert_eq!(allocate(&none, 9).unwrap_err().to_string(), "unit 1: no option has a finite loss");
    assert_eq!(allocate(&[], 0).unwrap().cost, cost(0, 0.0));
}
