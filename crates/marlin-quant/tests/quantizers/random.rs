//! Weights and correlated inputs for tests: seeded, so that every run sees the same.

use std::f64::consts::TAU;

use marlin_format::Weight;

/// A splitmix64 sequence (Steele, Lea, Flood 2014).
pub struct Random(pub u64);

impl Random {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// `count` independent N(0, 1) values (Box and Muller 1958).
    pub fn gaussian(&mut self, count: usize) -> Vec<f32> {
        let one = |_| {
            let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
            (radius * (TAU * self.uniform()).cos()) as f32
        };
        (0..count).map(one).collect()
    }

    /// Weights of the size models have.
    pub fn weight(&mut self, rows: usize, cols: usize) -> Weight {
        let values: Vec<f32> = self.gaussian(rows * cols).iter().map(|value| value * 0.02).collect();
        Weight::from_f32(rows, cols, &values).unwrap()
    }

    /// Inputs `[tokens, cols]` as layers have them: a few directions that many columns share, columns of
    /// very different size, every seventh column silent.
    pub fn inputs(&mut self, tokens: usize, cols: usize) -> Vec<f32> {
        let shared = cols.div_ceil(8);
        let mixing = self.gaussian(shared * cols);
        let sizes: Vec<f32> = self.gaussian(cols).iter().map(|size| size.exp()).collect();
        let mut inputs = Vec::with_capacity(tokens * cols);
        for _ in 0..tokens {
            let (causes, own) = (self.gaussian(shared), self.gaussian(cols));
            for k in 0..cols {
                let cause: f32 = (0..shared).map(|s| causes[s] * mixing[s * cols + k]).sum();
                let value = sizes[k] * (cause / (shared as f32).sqrt() + 0.3 * own[k]);
                inputs.push(if k % 7 == 6 { 0.0 } else { value });
            }
        }
        inputs
    }
}

/// The result of `work` on this many threads.
pub fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}
