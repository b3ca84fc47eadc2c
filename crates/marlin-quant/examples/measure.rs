//! Prints how long the parts of GPTQ take on the matrices of one expert of GLM-4.7-Flash:
//! `cargo run --release -p marlin-quant --example measure`

use std::time::Instant;

use marlin_format::{Rounding, ScaleSearch, Weight};
use marlin_quant::{Damping, Gram, Hessian, gptq, round};

/// Rows and columns of `gate_proj` and `down_proj`.
const SHAPES: [(usize, usize); 2] = [(1536, 2048), (2048, 1536)];
const TOKENS: usize = 2048;

/// Numbers that look random, in [-1, 1).
fn noise(count: usize) -> Vec<f32> {
    let mut state = 1u64;
    let mut next = || {
        // PCG's multiplier (O'Neill 2014), upper bits.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Runs `work` three times and prints the shortest, as a rate of `operations`.
fn timed<T>(what: &str, operations: usize, work: impl Fn() -> T) -> T {
    let turns = [0; 3].map(|_| {
        let start = Instant::now();
        let result = work();
        (start.elapsed().as_secs_f64(), result)
    });
    let (seconds, result) = turns.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).expect("three turns");
    println!("  {what:<12} {:8.1} ms {:8.1} GFlop/s", 1e3 * seconds, operations as f64 / seconds / 1e9);
    result
}

fn main() {
    let format = marlin_format::by_name("fp4").expect("a format");
    println!("threads: {}", rayon::current_num_threads());
    for (rows, cols) in SHAPES {
        println!("[{rows}, {cols}], {TOKENS} tokens");
        let inputs = noise(TOKENS * cols);
        let source = Weight::from_f32(rows, cols, &noise(rows * cols)).expect("as many values");
        let gram = timed("moments", TOKENS * cols * cols, || {
            let mut gram = Gram::new(cols);
            gram.add(&inputs, None);
            gram
        });
        let hessian = timed("factor", cols.pow(3) / 3, || Hessian::new(&gram, Damping::default()));
        let chosen = timed("gptq", rows * cols * cols, || {
            gptq(&source, format, &hessian, ScaleSearch::Grid).expect("finite values")
        });
        timed("round", rows * cols, || round(&source, format, Rounding::default()).expect("finite values"));
        timed("loss", rows * cols * cols, || gram.loss(&source, &chosen.rounded.weight));
    }
}
