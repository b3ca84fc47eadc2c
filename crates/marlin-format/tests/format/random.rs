//! Random weights for tests: seeded, so that every run sees the same.

use std::f64::consts::TAU;

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
}
