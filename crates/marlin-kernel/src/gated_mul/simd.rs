//! The gate of a feed-forward layer over a slice.

use std::f32::consts::{FRAC_2_SQRT_PI, SQRT_2};

use crate::{
    plan::Activation,
    simd::{Isa, Simd, Task, math::exp},
};

/// [`Op::GatedMul`](crate::plan::Op::GatedMul) of a slice; all slices are of one length.
pub fn gated_mul(isa: Isa, activation: Activation, gate: &[f32], up: &[f32], out: &mut [f32]) {
    isa.run(Slice { activation, gate, up, out });
}

struct Slice<'a> {
    activation: Activation,
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [f32],
}

impl Task for Slice<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _s: S) {
        let values = self.out.iter_mut().zip(self.gate).zip(self.up);
        match self.activation {
            Activation::Silu => {
                for ((out, gate), up) in values {
                    *out = gate / (1.0 + exp(-gate)) * up;
                }
            }
            Activation::GeluTanh => {
                // 0.5 (1 + tanh u) = 1 / (1 + e^(-2u)).
                const TWICE_ROOT_2_BY_PI: f32 = FRAC_2_SQRT_PI * SQRT_2;
                for ((out, gate), up) in values {
                    let twice = TWICE_ROOT_2_BY_PI * (gate + 0.044_715 * gate * gate * gate);
                    *out = gate / (1.0 + exp(-twice)) * up;
                }
            }
            Activation::ClampedSwiglu { limit } => {
                for ((out, gate), up) in values {
                    let gate = gate.min(limit);
                    *out = gate / (1.0 + exp(-1.702 * gate)) * (up.clamp(-limit, limit) + 1.0);
                }
            }
        }
    }
}
