//! Random tensors with the spread of trained ones: Gaussian, wider in some columns, with rare values
//! far out. Rows are drawn independently, so the threads make no difference.
//!
//! A quantized matrix whose groups stand by themselves is not rounded from numbers: its groups are drawn
//! from a [`Pool`] of groups that the format's own encoder made of such numbers, which keeps codes, scales
//! and zero points in their true proportions at the speed of copying.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use marlin_format::{Format, Layout, Parts, ROW, Rounding, RowMut, Weight};
use rand::{
    Rng, SeedableRng,
    rngs::{ChaCha8Rng, ChaCha20Rng},
};
use rayon::prelude::*;

use super::shapes::{Kind, Tensor};

/// Standard deviation of a weight (`initializer_range` of the published configuration).
const SPREAD: f32 = 0.02;
/// Standard deviation of the logarithm of a column's spread.
const COLUMN_SPREAD: f32 = 0.25;
/// One value in this many is an outlier,
const OUTLIER_EVERY: usize = 1024;
/// so many times as large.
const OUTLIER: f32 = 6.0;
/// Standard deviation of the weight of a norm around 1, and of a bias around 0.
const VECTOR_SPREAD: f32 = 0.05;
/// Groups of a pool: a power of two, few enough for the second-level cache.
const POOL_GROUPS: usize = 2048;
/// Columns of the matrix that a pool is made of, in groups.
const POOL_ROW_GROUPS: usize = 32;

/// Draws tensors from a seed and their names.
#[derive(Debug)]
pub struct Generator {
    seed: u64,
    /// Standard normal numbers, indexed by 16 random bits.
    normal: Vec<f32>,
}

/// One pool a format, made when first needed.
pub type Pools = HashMap<&'static str, Pool>;

/// Encoded groups to draw from.
#[derive(Debug)]
pub struct Pool {
    weight: Weight,
    /// Bytes of a group in each stream.
    codes: usize,
    scales: usize,
    zeros: usize,
}

impl Generator {
    /// The same seed draws the same tensors.
    pub fn new(seed: u64) -> Generator {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut uniform = || (f64::from(rng.next_u32()) + 0.5) / f64::from(u32::MAX);
        // Box and Muller, Annals of Mathematical Statistics 29 (1958).
        let mut number = || {
            let (radius, angle) = ((-2.0 * uniform().ln()).sqrt(), std::f64::consts::TAU * uniform());
            (radius * angle.cos()) as f32
        };
        Generator { seed, normal: (0..1 << 16).map(|_| number()).collect() }
    }

    /// A matrix in `format`.
    pub fn matrix(&self, tensor: &Tensor, format: &'static dyn Format, pools: &mut Pools) -> Result<Weight> {
        if let Layout::Dense { .. }
        | Layout::Grouped { group: ROW, .. }
        | Layout::Grouped { sparse: true, .. } = format.layout()
        {
            return self.rounded(tensor, format);
        }
        if !pools.contains_key(format.name()) {
            pools.insert(format.name(), self.pool(format)?);
        }
        self.grouped(tensor, format, &pools[format.name()])
    }

    /// A norm in bf16 or a bias in f32, little endian.
    pub fn vector(&self, tensor: &Tensor) -> Vec<u8> {
        let numbers = self.numbers(&tensor.name, 0, tensor.cols);
        let numbers = numbers.into_iter().map(|number| VECTOR_SPREAD * number);
        match tensor.kind {
            Kind::Norm => {
                numbers.flat_map(|number| half::bf16::from_f32(1.0 + number).to_le_bytes()).collect()
            }
            _ => numbers.flat_map(f32::to_le_bytes).collect(),
        }
    }

    /// Rows drawn and encoded: what is not a sequence of groups that stand by themselves.
    fn rounded(&self, tensor: &Tensor, format: &'static dyn Format) -> Result<Weight> {
        let Tensor { rows, cols, ref name, .. } = *tensor;
        let layout = format.layout();
        let columns = self.columns(name, cols);
        let absmax =
            |row| self.values(name, row, &columns).iter().fold(0.0f32, |max, value| max.max(value.abs()));
        let tensor_scale =
            format.tensor_scale((0..rows).into_par_iter().map(absmax).reduce(|| 0.0, f32::max));
        let widths = [layout.code_bytes(cols), layout.scale_bytes(cols)];
        let [mut codes, mut scales] = widths.map(|width| vec![0; rows * width]);
        let codebook = format.codebook();
        let streams = cut(&mut codes, rows, widths[0]).into_par_iter().zip(cut(&mut scales, rows, widths[1]));
        streams.enumerate().try_for_each(|(row, (codes, scales))| {
            let out = RowMut { cols, codes, scales, zeros: &mut [], codebook, tensor_scale };
            format.encode(&self.values(name, row, &columns), Rounding::default(), out)
        })?;
        let (codebook, scales) = (codebook.into(), scales.into());
        let parts = Parts { scales, codebook, tensor_scale, ..Parts::codes_only(codes.into()) };
        Ok(Weight::new(format, rows, cols, parts)?)
    }

    fn grouped(&self, tensor: &Tensor, format: &'static dyn Format, pool: &Pool) -> Result<Weight> {
        let Tensor { rows, cols, .. } = *tensor;
        let layout = format.layout();
        let widths = [layout.code_bytes(cols), layout.scale_bytes(cols), layout.zero_bytes(cols)];
        let [mut codes, mut scales, mut zeros] = widths.map(|width| vec![0; rows * width]);
        // The last group may be short, and its codes end before the padding of the row.
        let (groups, code_bytes) = (layout.groups(cols), (cols * pool.code_bits()).div_ceil(8));
        cut(&mut codes, rows, widths[0])
            .into_par_iter()
            .zip(cut(&mut scales, rows, widths[1]))
            .zip(cut(&mut zeros, rows, widths[2]))
            .enumerate()
            .for_each(|(row, ((codes, scales), zeros))| {
                let draws = self.draws(&tensor.name, row as u64, groups);
                pool.fill(&draws, &mut codes[..code_bytes], scales, zeros);
            });
        let (codes, scales, zeros) = (codes.into(), scales.into(), zeros.into());
        let parts = Parts { codes, scales, zeros, ..pool.weight.parts().clone() };
        Ok(Weight::new(format, rows, cols, parts)?)
    }

    fn pool(&self, format: &'static dyn Format) -> Result<Pool> {
        let (name, layout) = (format.name(), format.layout());
        let Layout::Grouped { group, code, scale, zero, .. } = layout else {
            anyhow::bail!("format {name}: is only read, expected one that can be written");
        };
        let (rows, cols) = (POOL_GROUPS / POOL_ROW_GROUPS, POOL_ROW_GROUPS * group);
        ensure!((cols * code.bits()).is_multiple_of(32), "format {name}: groups do not end on a word");
        let columns = self.columns(name, cols);
        let values: Vec<f32> = (0..rows).flat_map(|row| self.values(name, row, &columns)).collect();
        let weight = Weight::encode(format, rows, cols, &values, Rounding::default())?;
        Ok(Pool { weight, codes: group * code.bits() / 8, scales: scale.bytes(), zeros: usize::from(zero) })
    }

    /// One row of weights.
    fn values(&self, name: &str, row: usize, columns: &[f32]) -> Vec<f32> {
        let mut values = self.numbers(name, row as u64 + 1, columns.len());
        for (value, column) in values.iter_mut().zip(columns) {
            *value *= column;
        }
        // Rows of any length get their share of outliers.
        let first = (row * 389) % OUTLIER_EVERY;
        for value in values.iter_mut().skip(first).step_by(OUTLIER_EVERY) {
            *value *= OUTLIER;
        }
        values
    }

    /// The spread of each column.
    fn columns(&self, name: &str, cols: usize) -> Vec<f32> {
        let numbers = self.numbers(name, 0, cols).into_iter();
        numbers.map(|number| SPREAD * (COLUMN_SPREAD * number).exp()).collect()
    }

    /// Standard normal numbers: stream `stream` of those that belong to `name`.
    fn numbers(&self, name: &str, stream: u64, count: usize) -> Vec<f32> {
        let draws = self.draws(name, stream, count);
        draws.into_iter().map(|draw| self.normal[usize::from(draw)]).collect()
    }

    fn draws(&self, name: &str, stream: u64, count: usize) -> Vec<u16> {
        // FNV-1a (Fowler, Noll, Vo): any spread of names over seeds will do.
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ self.seed, hash);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        let mut bytes = vec![0; 2 * count];
        rng.fill_bytes(&mut bytes);
        bytes.as_chunks().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect()
    }
}

impl Pool {
    fn code_bits(&self) -> usize {
        8 * self.codes / self.weight.layout().group()
    }

    /// Fills a row with the groups that `draws` name.
    fn fill(&self, draws: &[u16], codes: &mut [u8], scales: &mut [u8], zeros: &mut [u8]) {
        let parts = self.weight.parts();
        for (at, draw) in draws.iter().enumerate() {
            let group = usize::from(*draw) % POOL_GROUPS;
            copy(&parts.codes, group, codes, at, self.codes);
            copy(&parts.scales, group, scales, at, self.scales);
            copy(&parts.zeros, group, zeros, at, self.zeros);
        }
    }
}

/// One slice a row; empty ones for a stream that the format does not have.
fn cut(stream: &mut [u8], rows: usize, width: usize) -> Vec<&mut [u8]> {
    match width {
        0 => (0..rows).map(|_| Default::default()).collect(),
        width => stream.chunks_exact_mut(width).collect(),
    }
}

/// Copies piece `from` of `source` to piece `at` of `out`, as far as `out` goes.
fn copy(source: &[u8], from: usize, out: &mut [u8], at: usize, len: usize) {
    let end = out.len().min((at + 1) * len);
    let out = &mut out[at * len..end];
    out.copy_from_slice(&source[from * len..][..out.len()]);
}
