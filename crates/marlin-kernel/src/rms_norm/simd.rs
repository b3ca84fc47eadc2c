//! Root-mean-square norm of one segment.

use crate::simd::{Isa, Simd, Task};

/// Normalises the segment `x` into `out`; all slices are of one length.
pub fn rms_norm(isa: Isa, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    isa.run(Segment { x, weight, eps, out });
}

struct Segment<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl Task for Segment<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (chunks, tail) = self.x.as_chunks::<8>();
        let mut squares = s.splat(0.0);
        for chunk in chunks {
            let lanes = s.load(chunk);
            squares = s.mul_add(lanes, lanes, squares);
        }
        let sum = s.sum(squares) + tail.iter().map(|value| value * value).sum::<f32>();
        let factor = 1.0 / (sum / self.x.len() as f32 + self.eps).sqrt();
        for ((out, value), weight) in self.out.iter_mut().zip(self.x).zip(self.weight) {
            *out = value * factor * weight;
        }
    }
}
