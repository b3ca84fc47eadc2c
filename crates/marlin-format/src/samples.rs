//! One group of values made ready for a search: scaled near 1, weighted.

use crate::grid::{Grid, LANES};

/// Largest group of any format.
pub const MAX_GROUP: usize = 128;

/// The values of a group times `2^-exponent`, which brings the largest magnitude to [1, 2) (or
/// below, if it is subnormal) so that squares neither overflow nor vanish.
#[derive(Debug)]
pub struct Samples {
    values: [f32; MAX_GROUP],
    weights: [f32; MAX_GROUP],
    len: usize,
    /// Power of two that was divided out.
    pub exponent: i32,
    /// The value of largest magnitude, the first of equals; 0 for a group of zeros.
    pub extreme: f32,
    /// Smallest value, at most 0.
    pub low: f32,
    /// Largest value, at least 0.
    pub high: f32,
}

impl Samples {
    /// Takes 1 to [`MAX_GROUP`] finite values; `weights` are finite and not negative. A group whose
    /// weights are all zero counts as unweighted.
    pub fn new(values: &[f32], weights: Option<&[f32]>) -> Self {
        let (mut low, mut high) = (0.0f32, 0.0f32);
        for &value in values {
            low = if value < low { value } else { low };
            high = if value > high { value } else { high };
        }
        let absmax = if high > -low { high } else { -low };
        let exponent = ((absmax.to_bits() >> 23) as i32 - 127).clamp(-126, 126);
        let factor = power_of_two(-exponent);
        let first = values.iter().find(|value| value.abs() == absmax);
        let mut samples = Samples {
            values: [0.0; MAX_GROUP],
            weights: [1.0; MAX_GROUP],
            len: values.len(),
            exponent,
            extreme: first.map_or(0.0, |value| value * factor),
            low: low * factor,
            high: high * factor,
        };
        for (sample, value) in samples.values.iter_mut().zip(values) {
            *sample = value * factor;
        }
        if let Some(weights) = weights {
            let heaviest = weights.iter().fold(0.0f32, |max, &weight| max.max(weight));
            if heaviest > 0.0 {
                for (sample, weight) in samples.weights.iter_mut().zip(weights) {
                    *sample = weight / heaviest;
                }
            }
        }
        samples
    }

    fn weighted(&self) -> impl Iterator<Item = (f32, f32)> {
        self.values[..self.len].iter().copied().zip(self.weights[..self.len].iter().copied())
    }

    /// The least-squares unit, `sum w x q / sum w q^2`, of the codes `q` nearest at each unit.
    #[inline(always)]
    pub fn rescale(&self, units: &[f32; LANES], grid: &impl Grid) -> [f32; LANES] {
        let inverse = units.map(|unit| 1.0 / unit);
        let (mut cross, mut square) = ([0.0f32; LANES], [0.0f32; LANES]);
        for (value, weight) in self.weighted() {
            for lane in 0..LANES {
                let q = grid.round(lane, value * inverse[lane]);
                let weighted = weight * q;
                cross[lane] += weighted * value;
                square[lane] += weighted * q;
            }
        }
        std::array::from_fn(|lane| cross[lane] / square[lane])
    }

    /// The weighted squared error at each unit.
    #[inline(always)]
    pub fn errors(&self, units: &[f32; LANES], grid: &impl Grid) -> [f32; LANES] {
        let inverse = units.map(|unit| 1.0 / unit);
        let mut errors = [0.0f32; LANES];
        for (value, weight) in self.weighted() {
            for lane in 0..LANES {
                let miss = value - units[lane] * grid.round(lane, value * inverse[lane]);
                errors[lane] += weight * miss * miss;
            }
        }
        errors
    }

    /// Whether every value is `unit` times a code of lane 0.
    #[inline(always)]
    pub fn exact(&self, unit: f32, grid: &impl Grid) -> bool {
        let inverse = 1.0 / unit;
        self.weighted().all(|(value, _)| unit * grid.round(0, value * inverse) == value)
    }
}

/// `2^exponent` for -149..=127.
pub const fn power_of_two(exponent: i32) -> f32 {
    if exponent < -126 {
        f32::from_bits(1 << (exponent + 149))
    } else {
        f32::from_bits(((exponent + 127) as u32) << 23)
    }
}
