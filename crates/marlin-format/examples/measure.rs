//! Prints a table of all formats: bits, relative squared error on N(0, 1) weights, and speeds on
//! one core. `cargo run --release -p marlin-format --example measure`

use std::f64::consts::TAU;
use std::time::Instant;

use marlin_format::{FORMATS, Format, Parts, Rounding, ScaleSearch, Unpacked, Weight};

const COLS: usize = 2048;
const ROWS: usize = 256;

/// A slice that a busy machine is likely to leave undisturbed.
const TIMED_ROWS: usize = 16;

fn gaussian(count: usize) -> Vec<f32> {
    let mut state = 1u64;
    let mut uniform = || {
        // PCG's multiplier (O'Neill 2014), upper bits.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    };
    (0..count).map(|_| ((-2.0 * uniform().ln()).sqrt() * (TAU * uniform()).cos()) as f32).collect()
}

/// Million values per second, the best of many turns.
fn speed(values: usize, mut work: impl FnMut()) -> f64 {
    let turn = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    values as f64 / (0..40).map(turn).fold(f64::INFINITY, f64::min) / 1e6
}

fn read_speeds(weight: &Weight) -> (f64, Option<f64>) {
    let mut out = vec![0.0f32; COLS];
    let rows = weight.rows();
    let decode = speed(rows * COLS, || (0..rows).for_each(|row| weight.decode_row(row, &mut out)));
    let groups = weight.layout().groups(COLS);
    let (mut codes, mut scales, mut offsets) = (vec![0; COLS], vec![0.0; groups], vec![0.0; groups]);
    let mut can = true;
    let unpack = speed(rows * COLS, || {
        for row in 0..rows {
            let out = Unpacked { codes: &mut codes, scales: &mut scales, offsets: &mut offsets };
            can &= weight.unpack_row(row, out);
        }
    });
    (decode, can.then_some(unpack))
}

fn row(format: &'static dyn Format, values: &[f32]) -> String {
    let layout = format.layout();
    let squares: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
    let mut line = format!("{:<18}{:>8.4}", format.name(), layout.bits_per_weight());
    let mut encoded = None;
    for search in [ScaleSearch::Absmax, ScaleSearch::Grid] {
        let how = Rounding { search, importance: None };
        let Ok(weight) = Weight::encode(format, ROWS, COLS, values, how) else {
            line += &format!("{:>10}{:>8}", "", "");
            continue;
        };
        let misses = values.iter().zip(weight.to_f32());
        let error: f64 = misses.map(|(a, b)| (f64::from(*a) - f64::from(b)).powi(2)).sum();
        let part = &values[..TIMED_ROWS * COLS];
        let speed = speed(part.len(), || drop(Weight::encode(format, TIMED_ROWS, COLS, part, how)));
        line += &format!("{:>10.6}{speed:>8.0}", error / squares);
        encoded = Some(weight);
    }
    let zeros = |row: usize| vec![0; ROWS * row].into();
    let weight = match encoded {
        Some(weight) => weight,
        None => {
            let codes = Parts::codes_only(zeros(layout.code_bytes(COLS)));
            let codebook = format.codebook().into();
            let parts = Parts { scales: zeros(layout.scale_bytes(COLS)), codebook, ..codes };
            Weight::new(format, ROWS, COLS, parts).expect("lengths of the layout")
        }
    };
    let (decode, unpack) = read_speeds(&weight.slice_rows(0..TIMED_ROWS));
    line + &format!("{decode:>9.0}{:>9}", unpack.map_or(String::new(), |speed| format!("{speed:.0}")))
}

fn main() {
    let values = gaussian(ROWS * COLS);
    println!(
        "{:<18}{:>8}{:>18}{:>18}{:>18}",
        "", "bits", "absmax    M/s", "search    M/s", "decode   unpack"
    );
    for format in FORMATS {
        println!("{}", row(*format, &values));
    }
}
