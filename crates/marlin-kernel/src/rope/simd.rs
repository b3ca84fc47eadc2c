//! Rotary position embedding of one segment, with cosines and sines made once per position.

use crate::{
    plan::RopeStyle,
    simd::{Isa, Simd, Task},
};

/// Cosines and sines of all pairs at one position, times the scale of the result.
#[derive(Clone, Debug, Default)]
pub struct Angles {
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

impl Angles {
    /// Angles of `position`; `frequencies` are radians per position.
    pub fn new(position: u32, frequencies: &[f32], scale: f32) -> Angles {
        let angle = |frequency: &f32| f64::from(position) * f64::from(*frequency);
        Angles {
            cosines: frequencies.iter().map(|frequency| scale * angle(frequency).cos() as f32).collect(),
            sines: frequencies.iter().map(|frequency| scale * angle(frequency).sin() as f32).collect(),
        }
    }

    /// Rotates the segment `x` into `out`, each twice as long as there are pairs.
    pub fn rotate(&self, isa: Isa, style: RopeStyle, x: &[f32], out: &mut [f32]) {
        isa.run(Rotate { angles: self, style, x, out });
    }
}

struct Rotate<'a> {
    angles: &'a Angles,
    style: RopeStyle,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Task for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _s: S) {
        let Rotate { angles: Angles { cosines, sines }, style, x, out } = self;
        let angles = cosines.iter().zip(sines);
        match style {
            RopeStyle::Interleaved => {
                let pairs = x.as_chunks::<2>().0.iter().zip(out.as_chunks_mut::<2>().0);
                for (([u, v], out), (cos, sin)) in pairs.zip(angles) {
                    *out = [u * cos - v * sin, v * cos + u * sin];
                }
            }
            RopeStyle::Half => {
                let (x_first, x_second) = x.split_at(cosines.len());
                let (out_first, out_second) = out.split_at_mut(cosines.len());
                let pairs = x_first.iter().zip(x_second).zip(out_first.iter_mut().zip(out_second));
                for (((u, v), (first, second)), (cos, sin)) in pairs.zip(angles) {
                    *first = u * cos - v * sin;
                    *second = v * cos + u * sin;
                }
            }
        }
    }
}
