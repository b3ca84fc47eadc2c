//! Which variants lowering takes where several would do: plain data, measured on a device or the default.
//!
//! Every value that [`Tuning::check`] passes gives the same results; only the time differs.

mod measure;

use marlin_kernel::shader::SHADERS;
use serde::{Deserialize, Serialize};

use crate::Error;
pub use measure::Trial;

/// Weight rows of a product, all of its dispatch together, from which on it is in the next class.
pub const CLASSES: [usize; 3] = [8192, 16_384, 32_768];

/// Workgroups that attention can split its positions among, at most: what `merge.wgsl` has room for.
const MOST_WORKGROUPS: usize = 1024;

/// The choices of lowering. Those by class stand in the order of [`CLASSES`], fewest weight rows first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuning {
    /// Weight rows that a subgroup of `matvec.wgsl` takes at once, by class; measured with one row of x.
    pub matvec: [usize; CLASSES.len() + 1],
    /// Parts that `matvec_coop.wgsl` cuts the columns of a weight row into (`SPLIT`), by class.
    pub split: [usize; CLASSES.len() + 1],
    /// Workgroups in all, at most, where attention splits the positions.
    pub workgroups: usize,
    /// Rows of gate and of up that a subgroup of `gate_up.wgsl` makes at once.
    pub gate_up: usize,
    /// Rows that a subgroup of `down.wgsl` makes at once.
    pub down: usize,
}

impl Default for Tuning {
    /// What is best on a large device, an H100: about 512 workgroups or more wherever a weight has the
    /// rows for them, and attention with one for each multiprocessor, since each has its own beginning
    /// and end.
    fn default() -> Tuning {
        Tuning { matvec: [1, 2, 4, 4], split: [2, 2, 1, 1], workgroups: 132, gate_up: 1, down: 1 }
    }
}

impl Tuning {
    /// Whether every value is one that lowering has a kernel for.
    ///
    /// # Errors
    /// [`Error::Tuning`] with the first that is not.
    pub fn check(&self) -> Result<(), Error> {
        for outs in self.matvec {
            check("matvec", "matmul/matvec", &[("OUTS", outs)])?;
        }
        for split in self.split {
            check("split", "matmul/matvec_coop", &[("SPLIT", split)])?;
        }
        check("gate_up", "moe_experts/gate_up", &[("OUTS", self.gate_up)])?;
        check("down", "moe_experts/down", &[("OUTS", self.down)])?;
        if !(1..=MOST_WORKGROUPS).contains(&self.workgroups) {
            let (found, expected) = (self.workgroups.to_string(), format!("1 to {MOST_WORKGROUPS}"));
            return Err(Error::Tuning { choice: "workgroups", found, expected });
        }
        Ok(())
    }

    /// A number that changes with what a tuning chooses from: the table of shaders and the classes. A
    /// tuning that was measured with another is of no use.
    pub fn fingerprint() -> u64 {
        fingerprint(&format!("{CLASSES:?} {SHADERS:?}"))
    }

    /// `OUTS` of a product without matrices, of weights with `rows` rows in all.
    pub(crate) fn matvec_for(&self, rows: usize) -> usize {
        self.matvec[class(rows)]
    }

    /// `SPLIT` of a product of a few rows with matrices, of weights with `rows` rows in all.
    pub(crate) fn split_for(&self, rows: usize) -> usize {
        self.split[class(rows)]
    }
}

/// The class of a dispatch with so many weight rows.
fn class(rows: usize) -> usize {
    CLASSES.iter().filter(|first| rows >= **first).count()
}

/// Whether a shader has these constants whatever its others are.
fn has(file: &str, constants: &[(&str, usize)]) -> bool {
    let mut shaders = SHADERS.iter().filter(|shader| shader.file == file).peekable();
    shaders.peek().is_some()
        && shaders.all(|shader| {
            constants.iter().all(|(name, value)| {
                let values = shader.constants.iter().find(|(constant, _)| constant == name);
                values.is_some_and(|(_, values)| values.iter().any(|known| *known as usize == *value))
            })
        })
}

/// # Errors
/// [`Error::Tuning`] for constants that a shader does not have.
fn check(choice: &'static str, file: &str, constants: &[(&str, usize)]) -> Result<(), Error> {
    if has(file, constants) {
        return Ok(());
    }
    let values: Vec<String> = constants.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let expected = format!("what the table of shaders has for {file}");
    Err(Error::Tuning { choice, found: values.join(", "), expected })
}

/// FNV-1a of 64 bits (Fowler, Noll and Vo): the same in every build, as names of files must be.
pub fn fingerprint(text: &str) -> u64 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, mix)
}

#[cfg(test)]
mod tests;
