//! A small deterministic generator for test data: the same numbers on every machine.

use half::f16;
use marlin_format::{Error, Format, Layout, Parts, Rounding, Row, ScaleSearch, Weight};

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator; equal seeds give equal numbers.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Uniform in `0..bound`. Panics if `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A standard normal value that f16 holds exactly, so that a player may keep it in either type.
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        f16::from_f64(radius * (std::f64::consts::TAU * self.unit()).cos()).to_f32()
    }

    /// `count` values of [`Random::normal`].
    pub fn normals(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.normal()).collect()
    }

    /// `0..count` in random order.
    pub fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for end in (1..count).rev() {
            order.swap(end, self.below(end + 1));
        }
        order
    }

    /// A random weight `[rows, cols]` with values of about `1 / sqrt(cols)`: normal values encoded, or,
    /// in the block formats of GGUF, random blocks of a sane magnitude.
    ///
    /// # Errors
    /// Those of [`Weight::encode`] and [`Weight::new`].
    pub fn weight(&mut self, format: &'static dyn Format, rows: usize, cols: usize) -> Result<Weight, Error> {
        let scale = 1.0 / (cols.max(1) as f32).sqrt();
        match format.layout() {
            Layout::Blocks { values: block, bytes, .. } => {
                // A few blocks in random order: most that are drawn have no sane magnitude.
                let pool: Vec<Vec<u8>> = (0..16).map(|_| self.block(format, block, bytes, scale)).collect();
                let codes: Vec<u8> =
                    (0..rows * cols / block).flat_map(|_| pool[self.below(16)].iter().copied()).collect();
                Weight::new(format, rows, cols, Parts::codes_only(codes.into()))
            }
            Layout::Affine { code, .. } => {
                let layout = format.layout();
                let codes: Vec<u8> = (0..rows * layout.code_bytes(cols)).map(|_| self.bits() as u8).collect();
                // 4-bit codes lie around 7.5, those of 8 bits around 0.
                let (unit, middle) = if code.bits() == 4 { (0.2 * scale, 7.5) } else { (scale / 80.0, 0.0) };
                let mut pair = || {
                    let step = unit * (1.0 + 0.2 * self.normal());
                    [step, 0.1 * scale * self.normal() - middle * step]
                };
                let pairs = (0..rows * layout.groups(cols)).flat_map(|_| pair());
                let scales: Vec<u8> = pairs.flat_map(f32::to_le_bytes).collect();
                let parts = Parts { scales: scales.into(), ..Parts::codes_only(codes.into()) };
                Weight::new(format, rows, cols, parts)
            }
            Layout::Dense { .. } | Layout::Grouped { .. } => {
                let values: Vec<f32> = (0..rows * cols).map(|_| scale * self.normal()).collect();
                let how = Rounding { search: ScaleSearch::Absmax, importance: None };
                Weight::encode(format, rows, cols, &values, how)
            }
        }
    }

    /// Random bytes of one block, drawn again until its largest value is near `scale`.
    fn block(&mut self, format: &dyn Format, values: usize, bytes: usize, scale: f32) -> Vec<u8> {
        let mut decoded = vec![0.0; values];
        loop {
            let codes: Vec<u8> = (0..bytes).map(|_| self.bits() as u8).collect();
            let row = Row { cols: values, ..Row::codes_only(&codes) };
            format.decode(row, &mut decoded);
            let absmax = decoded.iter().fold(0.0f32, |max, value| max.max(value.abs()));
            let finite = decoded.iter().all(|value| value.is_finite());
            if finite && (0.5 * scale..8.0 * scale).contains(&absmax) {
                return codes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_follow_the_published_sequence() {
        // First outputs for seed 1234567, as Rosetta Code lists them.
        let mut random = Random::new(1_234_567);
        assert_eq!(
            [random.bits(), random.bits(), random.bits()],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn normals_have_mean_zero_and_variance_one() {
        let values = Random::new(1).normals(20_000);
        let mean = values.iter().sum::<f32>() / 20_000.0;
        let variance = values.iter().map(|value| value * value).sum::<f32>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.03, "mean {mean}, variance {variance}");
    }

    #[test]
    fn a_permutation_holds_every_index_once() {
        let mut order = Random::new(7).permutation(33);
        assert_ne!(order, (0..33).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..33).collect::<Vec<_>>());
    }

    #[test]
    fn every_format_gives_a_finite_weight() {
        for format in marlin_format::FORMATS {
            let cols = 48usize.next_multiple_of(format.layout().cols_multiple());
            let weight = Random::new(3).weight(*format, 5, cols).unwrap();
            let values = weight.to_f32();
            assert!(values.iter().all(|value| value.is_finite()), "{}", format.name());
            assert!(values.iter().any(|value| *value != 0.0), "{}", format.name());
        }
    }
}
