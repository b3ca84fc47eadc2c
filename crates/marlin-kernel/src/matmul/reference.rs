//! Matrix product, one weight row after another.

use marlin_format::Weight;

use crate::{
    Error,
    plan::{Op, Plan},
    reference::{Memory, dot, vector},
};

/// `W x + bias` for every row of `x [rows, weight.cols()]`: `[rows, weight.rows()]`.
pub fn matmul(x: &[f32], weight: &Weight, bias: Option<&[f32]>) -> Vec<f64> {
    let (outs, cols) = (weight.rows(), weight.cols());
    let rows = x.len() / cols;
    let mut values = vec![0.0; cols];
    let mut out = vec![0.0; rows * outs];
    for col in 0..outs {
        weight.decode_row(col, &mut values);
        let bias = bias.map_or(0.0, |bias| f64::from(bias[col]));
        for row in 0..rows {
            out[row * outs + col] = dot(&x[row * cols..][..cols], &values) + bias;
        }
    }
    out
}

pub(crate) fn play(op: &Op, plan: &Plan, memory: &mut Memory) -> Result<(), Error> {
    let Op::MatMul { x, products } = op else { unreachable!("{op:?} is no matmul") };
    let x = memory.load(x);
    for product in products {
        let bias = product.bias.map(|bias| vector(plan, bias));
        let values = matmul(&x, plan.weight(product.weight), bias.as_deref());
        match product.accumulate {
            true => memory.add(&product.out, &values),
            false => memory.store(&product.out, &values),
        }
    }
    Ok(())
}
