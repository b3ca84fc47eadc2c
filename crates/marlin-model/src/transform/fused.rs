//! One expert's matrix or bias out of gpt-oss's stacks, in which gate and up are fused and alternate.
//!
//! ```text
//!            one expert of gate_up_proj                                of down_proj
//!  rows      [outputs, inputs]: rows g0 | u0 | g1 | u1 | ...           [outputs, inputs]   (MXFP4)
//!  columns   [inputs, outputs]: columns g0 | u0 | g1 | u1 | ...        [inputs, outputs]   (dense)
//!  bias      one row: g0 | u0 | g1 | u1 | ...                          one row
//! ```

use marlin_format::Weight;

use super::dense;
use crate::Error;

/// Which matrix or bias of a stack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fused {
    /// The expert.
    pub index: usize,
    /// Of how many.
    pub count: usize,
    /// How the outputs lie.
    pub form: Form,
    /// 0 for gate, 1 for up; `None` where nothing is fused.
    pub half: Option<usize>,
}

/// How the outputs of an expert lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As rows.
    Rows,
    /// As columns, which become rows.
    Columns,
    /// As the one row of a bias.
    Bias,
}

impl Fused {
    /// Rows and columns of the result, given those of the stack.
    ///
    /// # Errors
    /// [`Error::Shape`] when the stack does not divide.
    pub fn shape(&self, name: &str, rows: usize, cols: usize) -> Result<(usize, usize), Error> {
        let step = self.step();
        let (row_parts, column_parts) = match self.form {
            Form::Rows => (self.count * step, 1),
            Form::Columns | Form::Bias => (self.count, step),
        };
        let one_row = self.form != Form::Bias || rows == self.count;
        if !(rows.is_multiple_of(row_parts) && cols.is_multiple_of(column_parts) && one_row) {
            let some_rows =
                if self.form == Form::Bias { self.count } else { rows.next_multiple_of(row_parts) };
            let expected = vec![some_rows, cols.next_multiple_of(column_parts)];
            return Err(Error::Shape { name: name.to_owned(), found: vec![rows, cols], expected });
        }
        let (rows, cols) = (rows / row_parts, cols / column_parts);
        Ok(if self.form == Form::Columns { (cols, rows) } else { (rows, cols) })
    }

    /// Takes it out of the stack `weight`, whose shape was checked.
    ///
    /// # Errors
    /// [`Error::Weight`] when values cannot be encoded.
    pub(super) fn apply(&self, name: &str, weight: &Weight) -> Result<Weight, Error> {
        let (count, step, first) = (weight.rows() / self.count, self.step(), self.half.unwrap_or(0));
        let expert = weight.slice_rows(self.index * count..(self.index + 1) * count);
        if self.form == Form::Rows {
            let whole = self.half.is_none();
            let rows = || (first..count).step_by(step).collect::<Vec<_>>();
            return Ok(if whole { expert } else { expert.permute_rows(&rows()) });
        }
        let (values, cols) = (expert.to_f32(), expert.cols());
        let outputs = (first..cols).step_by(step);
        let turned: Vec<f32> =
            outputs.flat_map(|output| values.iter().skip(output).step_by(cols)).copied().collect();
        let rows = if self.form == Form::Bias { 1 } else { turned.len() / count };
        dense(name, weight, rows, turned)
    }

    /// From an output to the next of the same half.
    fn step(&self) -> usize {
        1 + usize::from(self.half.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Transform, tests::matrix},
        *,
    };

    fn take(
        form: Form,
        half: Option<usize>,
        stack: (usize, usize),
    ) -> Result<(usize, usize, Vec<f32>), Error> {
        let fused = Transform::Fused(Fused { index: 1, count: 3, form, half });
        let (rows, cols) = fused.shape("w", stack.0, stack.1)?;
        let weight = fused.apply("w", matrix(stack.0, stack.1))?;
        assert_eq!((weight.rows(), weight.cols()), (rows, cols));
        Ok((rows, cols, weight.to_f32()))
    }

    #[test]
    fn gate_and_up_alternate() {
        // Values count up; the second expert begins at 8 in a stack of 3 x [4, 2], at 4 in one of 3 x [1, 4].
        assert_eq!(take(Form::Rows, Some(0), (12, 2)).unwrap(), (2, 2, vec![8.0, 9.0, 12.0, 13.0]));
        assert_eq!(take(Form::Rows, Some(1), (12, 2)).unwrap(), (2, 2, vec![10.0, 11.0, 14.0, 15.0]));
        assert_eq!(take(Form::Bias, Some(0), (3, 4)).unwrap(), (1, 2, vec![4.0, 6.0]));
        assert_eq!(take(Form::Bias, Some(1), (3, 4)).unwrap(), (1, 2, vec![5.0, 7.0]));
        // 3 x [2 inputs, 4 outputs]: the second is 8 9 10 11 | 12 13 14 15.
        assert_eq!(take(Form::Columns, Some(0), (6, 4)).unwrap(), (2, 2, vec![8.0, 12.0, 10.0, 14.0]));
        assert_eq!(take(Form::Columns, Some(1), (6, 4)).unwrap(), (2, 2, vec![9.0, 13.0, 11.0, 15.0]));
    }

    #[test]
    fn what_is_not_fused_is_whole() {
        assert_eq!(take(Form::Rows, None, (6, 2)).unwrap(), (2, 2, vec![4.0, 5.0, 6.0, 7.0]));
        assert_eq!(take(Form::Bias, None, (3, 2)).unwrap(), (1, 2, vec![2.0, 3.0]));
        assert_eq!(take(Form::Columns, None, (6, 2)).unwrap(), (2, 2, vec![4.0, 6.0, 5.0, 7.0]));
    }

    #[test]
    fn stacks_that_do_not_divide_are_errors() {
        let said = |form, half, stack| take(form, half, stack).unwrap_err().to_string();
        assert_eq!(said(Form::Rows, Some(0), (9, 2)), "tensor w: found [9, 2], expected [12, 2]");
        assert_eq!(said(Form::Rows, None, (5, 2)), "tensor w: found [5, 2], expected [6, 2]");
        assert_eq!(said(Form::Columns, Some(1), (6, 3)), "tensor w: found [6, 3], expected [6, 4]");
        assert_eq!(said(Form::Bias, Some(1), (6, 4)), "tensor w: found [6, 4], expected [3, 4]");
    }
}
