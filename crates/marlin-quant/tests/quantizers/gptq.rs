//! GPTQ against its definition, and against plain rounding.

use marlin_format::{FORMATS, Format, Layout, Rounding, RowMut, ScaleSearch, Weight};
use marlin_quant::{ColumnOrder, Damping, Fallback, Gram, Hessian, gptq, round};

use crate::random::{Random, on_threads};

const ORDERS: [ColumnOrder; 3] = [ColumnOrder::Natural, ColumnOrder::Activation, ColumnOrder::Fours];

fn is_sparse(format: &dyn Format) -> bool {
    matches!(format.layout(), Layout::Grouped { sparse: true, .. })
}

/// The order in which columns are rounded.
fn ordered(squares: &[f32], order: ColumnOrder) -> Vec<usize> {
    let mut columns: Vec<usize> = (0..squares.len()).collect();
    let largest = |four: usize| match squares.chunks(4).nth(four) {
        Some(&[a, b, c, d]) => a.max(b).max(c).max(d),
        _ => -1.0,
    };
    match order {
        ColumnOrder::Natural => {}
        ColumnOrder::Activation => columns.sort_by(|&a, &b| squares[b].total_cmp(&squares[a])),
        ColumnOrder::Fours => columns.sort_by(|&a, &b| largest(b / 4).total_cmp(&largest(a / 4))),
    }
    columns
}

/// The columns that are not among the two of largest `saved`, the first of equals.
fn left_out(columns: &[usize], saved: &[f64]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..columns.len()).collect();
    places.sort_by(|&a, &b| saved[b].total_cmp(&saved[a]));
    places.iter().skip(2).map(|&place| columns[place]).collect()
}

/// Takes column `k` out of an inverse: the inverse of what is left.
fn without(inverse: &[Vec<f64>], k: usize) -> Vec<Vec<f64>> {
    let (column, pivot) = (&inverse[k], inverse[k][k]);
    let row = |(row, above): (&Vec<f64>, &f64)| -> Vec<f64> {
        row.iter().zip(column).map(|(value, left)| value - above * left / pivot).collect()
    };
    inverse.iter().zip(column).map(row).collect()
}

/// Formats that are written and have group scales.
fn grouped() -> impl Iterator<Item = &'static dyn Format> {
    let written =
        |format: &'static dyn Format| Weight::encode(format, 1, 16, &[1.0; 16], Rounding::default()).is_ok();
    FORMATS.iter().copied().filter(move |format| format.layout().group() > 0 && written(*format))
}

fn moments(random: &mut Random, tokens: usize, cols: usize) -> Gram {
    let mut gram = Gram::new(cols);
    gram.add(&random.inputs(tokens, cols), None);
    gram
}

/// The inverse by Gauss and Jordan, without pivots: the matrix is positive definite.
fn inverse(mut matrix: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let n = matrix.len();
    let mut inverse: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| f64::from(i == j)).collect()).collect();
    for k in 0..n {
        let pivot = matrix[k][k];
        for side in [&mut matrix, &mut inverse] {
            side[k].iter_mut().for_each(|value| *value /= pivot);
        }
        for i in (0..n).filter(|&i| i != k) {
            let factor = matrix[i][k];
            for side in [&mut matrix, &mut inverse] {
                let pivot = side[k].clone();
                side[i].iter_mut().zip(pivot).for_each(|(value, pivot)| *value -= factor * pivot);
            }
        }
    }
    inverse
}

/// What leaving out a column would cost by Wanda: `w^2 G_kk`.
fn wanda((value, importance): (&f64, &f32)) -> f64 {
    value.powi(2) * f64::from(*importance)
}

/// The same by SparseGPT: `w^2` over the diagonal of the inverse without the columns before.
fn sparse_gpt(four: &[usize], left: &[f64], inverse: &[Vec<f64>]) -> Vec<f64> {
    let mut inverse = inverse.to_vec();
    let mut saved = Vec::new();
    for &k in four {
        saved.push(left[k].powi(2) / inverse[k][k]);
        inverse = without(&inverse, k);
    }
    saved
}

/// Optimal brain quantization (Frantar and Alistarh, arXiv 2208.11580, equation 3) in a given order: rounds a
/// column, moves the error into all that are left by the inverse of their Hessian, takes the column out of
/// that inverse.
fn optimal_brain(source: &Weight, format: &'static dyn Format, gram: &Gram, damping: Damping) -> Vec<f32> {
    let cols = source.cols();
    let squares = gram.squares();
    let mean = squares.iter().map(|square| f64::from(*square)).sum::<f64>() / cols as f64;
    let order = ordered(&squares, damping.order);
    let entry =
        |i: usize, j: usize| f64::from(gram.at(i, j)) + if i == j { damping.share * mean } else { 0.0 };
    let first = inverse((0..cols).map(|i| (0..cols).map(|j| entry(i, j)).collect()).collect());
    let importance = gram.importance();
    let how = Rounding { importance: importance.as_deref(), ..Rounding::default() };
    let values = source.to_f32();
    let absmax = values.iter().fold(0.0f32, |max, value| max.max(value.abs()));
    let (tensor_scale, layout) = (format.tensor_scale(absmax), format.layout());
    let mut chosen = Vec::new();
    for row in values.chunks(cols) {
        let mut codes = vec![0; layout.code_bytes(cols)];
        let mut scales = vec![0; layout.scale_bytes(cols)];
        let mut zeros = vec![0; layout.zero_bytes(cols)];
        let (codes, scales, zeros) = (&mut codes, &mut scales, &mut zeros);
        let mut out = RowMut { cols, codes, scales, zeros, codebook: format.codebook(), tensor_scale };
        format.fit(row, how, out.reborrow()).unwrap();
        let mut left: Vec<f64> = row.iter().map(|value| f64::from(*value)).collect();
        let mut inverse = first.clone();
        let mut zeros = Vec::new();
        if is_sparse(format) && damping.order == ColumnOrder::Activation {
            let saved: Vec<f64> = left.iter().zip(importance.as_ref().unwrap()).map(wanda).collect();
            let columns: Vec<usize> = (0..cols).collect();
            let fours = columns.chunks(4).zip(saved.chunks(4));
            zeros.extend(fours.flat_map(|(four, saved)| left_out(four, saved)));
        }
        for (at, &k) in order.iter().enumerate() {
            if is_sparse(format) && damping.order != ColumnOrder::Activation && at % 4 == 0 {
                let four = &order[at..cols.min(at + 4)];
                zeros.extend(left_out(four, &sparse_gpt(four, &left, &inverse)));
            }
            let level = format.levels(out.as_row(), k / layout.group()).unwrap().nearest(left[k] as f32);
            let level = if zeros.contains(&k) { 0.0 } else { level };
            let error = (left[k] - f64::from(level)) / inverse[k][k];
            left[k] = f64::from(level);
            for &j in &order[at + 1..] {
                left[j] -= error * inverse[k][j];
            }
            inverse = without(&inverse, k);
        }
        chosen.extend(left.iter().map(|value| *value as f32));
    }
    chosen
}

#[test]
fn blocks_and_factors_are_optimal_brain_quantization() {
    for format in grouped() {
        for (rows, cols, tokens) in [(1, 1, 4), (2, 3, 9), (3, 33, 100), (2, 129, 150)] {
            let mut random = Random(cols as u64);
            let (gram, source) = (moments(&mut random, tokens, cols), random.weight(rows, cols));
            for order in ORDERS {
                let damping = Damping { order, ..Damping::default() };
                let hessian = Hessian::new(&gram, damping);
                let found = gptq(&source, format, &hessian, ScaleSearch::Grid).unwrap();
                assert_eq!(found.fallback, None);
                let expected = optimal_brain(&source, format, &gram, damping);
                let found = found.rounded.weight.to_f32();
                assert_eq!(found, expected, "{} [{rows}, {cols}] {order:?}", format.name());
            }
        }
    }
}

#[test]
fn threads_do_not_matter() {
    let (rows, cols) = (131, 300);
    let mut random = Random(3);
    let (gram, source) = (moments(&mut random, 400, cols), random.weight(rows, cols));
    let run = |threads| {
        on_threads(threads, || {
            let hessian = Hessian::new(&gram, Damping::default());
            gptq(&source, marlin_format::by_name("fp4").unwrap(), &hessian, ScaleSearch::Grid).unwrap()
        })
    };
    let one = run(1);
    for threads in [2, 3, 5] {
        let other = run(threads);
        assert_eq!(one.rounded.weight.parts().codes, other.rounded.weight.parts().codes);
        assert_eq!(one.rounded.weight.parts().scales, other.rounded.weight.parts().scales);
        assert_eq!(one.rounded.error, other.rounded.error);
    }
}

#[test]
fn outputs_are_better_than_rounded_at_four_bits_and_fewer() {
    let (rows, cols) = (40, 384);
    let mut random = Random(4);
    let (gram, source) = (moments(&mut random, 1500, cols), random.weight(rows, cols));
    let mut tried = 0;
    for format in grouped().filter(|format| format.layout().bits_per_weight() < 5.0) {
        let plain = round(&source, format, Rounding::default()).unwrap();
        let importance = gram.importance();
        let how = Rounding { importance: importance.as_deref(), ..Rounding::default() };
        let weighted = round(&source, format, how).unwrap();
        let [plain, weighted] = [&plain, &weighted].map(|it| gram.loss(&source, &it.weight));
        assert!(weighted < plain, "{}: weighted {weighted}, plain {plain}", format.name());
        let losses = ORDERS.map(|order| {
            let hessian = Hessian::new(&gram, Damping { order, ..Damping::default() });
            gram.loss(&source, &gptq(&source, format, &hessian, ScaleSearch::Grid).unwrap().rounded.weight)
        });
        println!("{:14} plain {plain:.1}, weighted {weighted:.1}, {ORDERS:?} {losses:.1?}", format.name());
        for (order, loss) in ORDERS.into_iter().zip(losses) {
            // Half of the columns left out are more than rounding can make up for.
            let share = if is_sparse(format) { 0.8 } else { 0.5 };
            assert!(loss < share * weighted, "{} {order:?}: {loss}, weighted {weighted}", format.name());
            let best = order == Damping::of(format).order;
            assert_eq!(best, loss == losses.into_iter().fold(f64::INFINITY, f64::min), "{losses:?}");
        }
        tried += 1;
    }
    assert!(tried >= 11);
}

/// Damping keeps GPTQ from fitting the few inputs of a rare expert: on other inputs it is no worse than
/// rounding, and soon far better.
#[test]
fn few_tokens_do_not_hurt_on_inputs_not_seen() {
    let (rows, cols) = (32, 256);
    let mut random = Random(11);
    let inputs = random.inputs(2000, cols);
    let source = random.weight(rows, cols);
    let (seen, others) = inputs.split_at(500 * cols);
    let mut judge = Gram::new(cols);
    judge.add(others, None);
    for name in ["int4-g64", "int3", "int2"] {
        let format = marlin_format::by_name(name).unwrap();
        let plain = judge.loss(&source, &round(&source, format, Rounding::default()).unwrap().weight);
        for (tokens, share) in [(1, 1.0), (4, 1.0), (16, 0.8), (64, 0.4), (256, 0.25)] {
            let mut gram = Gram::new(cols);
            gram.add(&seen[..tokens * cols], None);
            let hessian = Hessian::new(&gram, Damping::default());
            let chosen = gptq(&source, format, &hessian, ScaleSearch::Grid).unwrap();
            let ratio = judge.loss(&source, &chosen.rounded.weight) / plain;
            println!("{name}: {tokens} tokens: {ratio:.3} of the loss of rounding");
            assert!(ratio < share, "{name}: {tokens} tokens: {ratio}");
        }
    }
}

#[test]
fn what_cannot_be_factorized_is_rounded_and_says_so() {
    let mut random = Random(5);
    let source = random.weight(3, 40);
    let format = marlin_format::by_name("int4-g32").unwrap();
    let run = |gram: &Gram| {
        let hessian = Hessian::new(gram, Damping::default());
        gptq(&source, format, &hessian, ScaleSearch::Grid).unwrap()
    };
    let plain = round(&source, format, Rounding::default()).unwrap();

    let mut gram = Gram::new(40);
    for expected in [Fallback::NoInputs, Fallback::NotFinite] {
        let found = run(&gram);
        assert_eq!(found.fallback, Some(expected));
        assert_eq!(found.rounded.weight.to_f32(), plain.weight.to_f32());
        gram.add(&[f32::INFINITY; 40], None);
    }
    // Without damping, fewer tokens than columns leave the Hessian singular; zeros stay so tenfold.
    let mut gram = Gram::new(40);
    gram.add(&random.inputs(3, 40), None);
    let hessian = Hessian::new(&gram, Damping { share: 0.0, order: ColumnOrder::Natural });
    assert_eq!(hessian.damping(), Err(Fallback::NotPositive { share: 0.0 }));
    assert_eq!(Hessian::new(&gram, Damping::default()).damping(), Ok(0.01));
}
