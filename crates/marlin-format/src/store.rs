//! The scales a format can store, seen from one group's search: any unit in, a storable one out.

use half::f16;

use crate::grid::LANES;
use crate::samples::power_of_two;
use crate::scalar::{E2M1_MAX, E4M3_MAX, e4m3_from_f32, e4m3_to_f32, e8m0_floor, e8m0_to_half};
use crate::{Code, ScaleType};

/// What multiplies a stored scale to give the unit of integer codes: the tensor scale, halved where
/// codes are doubled values. E8M0 is read halved already.
pub fn factor(code: Code, scale: ScaleType, tensor_scale: f32) -> f32 {
    match (code, scale) {
        (Code::E2m1, ScaleType::F16 | ScaleType::E4m3) => 0.5 * tensor_scale,
        _ => tensor_scale,
    }
}

/// The f32 of stored scale bits, before [`factor`].
#[inline(always)]
pub fn read_scale(scale: ScaleType, bits: u32) -> f32 {
    match scale {
        ScaleType::F32 => f32::from_bits(bits),
        ScaleType::F16 => f16::from_bits(bits as u16).to_f32(),
        ScaleType::E4m3 => e4m3_to_f32(bits as u8),
        ScaleType::E8m0 => e8m0_to_half(bits as u8),
    }
}

/// The f32 scale of a tensor whose groups have E4M3 scales: the smallest power of two that keeps
/// `absmax / 6`, the scale of the largest group, within E4M3. A power of two, because some files
/// store the factor and some its reciprocal, and both must be exact. 1 for a tensor of zeros.
pub fn tensor_scale(absmax: f32) -> f32 {
    if absmax == 0.0 {
        return 1.0;
    }
    let divisor = f64::from(E4M3_MAX * E2M1_MAX) / f64::from(absmax);
    let exponent = (divisor.to_bits() >> 52) as i32 - 1023;
    // Beyond 126 the factor itself would be subnormal.
    power_of_two(-exponent.min(126))
}

/// The smallest f32 scale: products with codes stay clear of subnormals, which are 0 on many GPUs.
pub const MIN_F32: f32 = power_of_two(-100);

/// A storable scale.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    /// Its bits.
    pub bits: u32,
    /// What a code of 1 is worth, in the units of the samples.
    pub unit: f32,
}

/// The storable scales of one row.
#[derive(Clone, Copy, Debug)]
pub struct Store {
    scale: ScaleType,
    factor: f32,
    /// Smallest bits that are not zero.
    first: u32,
    /// Largest bits, sign left out, with which the largest code is finite in f32.
    last: u32,
    /// Power of two divided out of the samples.
    exponent: i32,
}

impl Store {
    /// For a row with this tensor scale.
    pub fn new(code: Code, scale: ScaleType, tensor_scale: f32) -> Self {
        Store::up_to(code.magnitude(), scale, factor(code, scale, tensor_scale))
    }

    /// For codes of at most `magnitude`, each worth `factor` times the stored scale.
    pub fn up_to(magnitude: f32, scale: ScaleType, factor: f32) -> Self {
        let (first, mut last) = match scale {
            ScaleType::F32 => (MIN_F32.to_bits(), (f32::MAX / magnitude.max(1.0)).to_bits()),
            ScaleType::F16 => (1, 0x7bff),
            ScaleType::E4m3 => (1, 0x7e),
            ScaleType::E8m0 => (0, 0xfe),
        };
        while last > 0 && !(read_scale(scale, last) * factor * magnitude).is_finite() {
            last -= 1;
        }
        Store { scale, factor, first, last, exponent: 0 }
    }

    /// For samples with another power of two divided out.
    pub fn at(self, exponent: i32) -> Self {
        Store { exponent, ..self }
    }

    /// The unit of stored bits.
    #[inline]
    pub fn stored(&self, bits: u32) -> Stored {
        Stored { bits, unit: read_scale(self.scale, bits) * self.factor * power_of_two(-self.exponent) }
    }

    /// The unit of a group in a row's scale stream. `None` beyond its end.
    pub fn read(&self, scales: &[u8], group: usize) -> Option<Stored> {
        let bytes = self.scale.bytes();
        let bits = stored_bits(self.scale, scales.get(group * bytes..(group + 1) * bytes)?).next()?;
        Some(self.stored(bits))
    }

    /// The storable unit nearest to `unit`, never 0; the largest or smallest one beyond the range.
    /// E8M0 rounds down, as OCP MX asks.
    #[inline]
    pub fn nearest(&self, unit: f32) -> Stored {
        let real = f64::from(unit) * f64::from(power_of_two(self.exponent)) / f64::from(self.factor);
        let (first, last) = (self.first, self.last);
        let bits = match self.scale {
            ScaleType::F32 => {
                let bits = (real as f32).to_bits();
                bits & 0x8000_0000 | (bits & 0x7fff_ffff).clamp(first, last)
            }
            ScaleType::F16 => {
                let bits = u32::from(f16::from_f32(real as f32).to_bits());
                bits & 0x8000 | (bits & 0x7fff).clamp(first, last)
            }
            ScaleType::E4m3 => u32::from(e4m3_from_f32(real as f32)).clamp(first, last),
            // The byte is read halved.
            ScaleType::E8m0 => u32::from(e8m0_floor(2.0 * real as f32)).min(last),
        };
        self.stored(bits)
    }

    /// The storable units from `below` steps under `bits` upwards.
    pub fn neighbours(&self, bits: u32, below: u32) -> [Stored; LANES] {
        let first = bits.saturating_sub(below).max(self.first);
        std::array::from_fn(|lane| self.stored((first + lane as u32).min(self.last)))
    }

    /// The storable units that `unit`, a quotient of two rounded numbers, may have come from: the nearest,
    /// and for f32, which rounds no coarser than the quotient, its neighbours.
    pub fn sources(&self, unit: f32) -> impl Iterator<Item = Stored> + use<> {
        let store = *self;
        let nearest = store.nearest(unit);
        let steps: &[i32] = if store.scale == ScaleType::F32 { &[0, -1, 1, -2, 2] } else { &[0] };
        steps.iter().map(move |&step| match step {
            0 => nearest,
            _ => store.stored(nearest.bits.wrapping_add_signed(step)),
        })
    }

    /// Whether `unit` rounds to an infinite half; the other types saturate.
    pub fn overflows(&self, unit: f32) -> bool {
        let real = unit / self.factor * power_of_two(self.exponent);
        matches!(self.scale, ScaleType::F16) && f16::from_f32(real).is_infinite()
    }

    /// Bits of the f32 significand that are 0 in every storable unit.
    pub fn zero_bits(&self) -> u32 {
        let zeros = match self.scale {
            ScaleType::F32 => 0,
            ScaleType::F16 => 13,
            ScaleType::E4m3 => 20,
            ScaleType::E8m0 => 23,
        };
        let power_of_two = self.factor.to_bits() & 0x7f_ffff == 0;
        if power_of_two { (1 << zeros) - 1 } else { 0 }
    }

    /// The first group of a row's scale stream that no value can be made with: the code of a NaN or
    /// infinity, or so large that the largest code would overflow. Returns the group and its value.
    pub fn first_flaw(&self, scales: &[u8]) -> Option<(usize, f32)> {
        let magnitude = |bits: u32| match self.scale {
            ScaleType::F32 => bits & 0x7fff_ffff,
            ScaleType::F16 => bits & 0x7fff,
            ScaleType::E4m3 => bits & 0x7f,
            ScaleType::E8m0 => bits,
        };
        // The largest first, because that is a loop over vectors and nearly always enough.
        let largest = stored_bits(self.scale, scales).map(magnitude).fold(0, u32::max);
        if largest <= self.last {
            return None;
        }
        let mut groups = stored_bits(self.scale, scales).enumerate();
        let (group, bits) = groups.find(|&(_, bits)| magnitude(bits) > self.last)?;
        let nan = match self.scale {
            ScaleType::F32 | ScaleType::F16 => false,
            ScaleType::E4m3 => magnitude(bits) == 0x7f,
            ScaleType::E8m0 => bits == 0xff,
        };
        Some((group, if nan { f32::NAN } else { read_scale(self.scale, bits) * self.factor }))
    }
}

/// The bits of each scale in a row's scale stream.
#[inline(always)]
pub fn stored_bits(scale: ScaleType, scales: &[u8]) -> impl Iterator<Item = u32> {
    let bytes = scale.bytes();
    scales.chunks_exact(bytes).map(move |chunk| match *chunk {
        [low, high] => u32::from(u16::from_le_bytes([low, high])),
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
        _ => u32::from(chunk[0]),
    })
}
