//! Row-wise steps: gathered into lists, each list one dispatch of `rowwise.wgsl`.

use marlin_kernel::{
    plan::{Activation, CacheId, Op, Product, RopeStyle, Rows, View},
    shader::Variant,
};

use super::{Lowering, products::Norm, row_count, rows_word};
use crate::{
    arena::Place,
    batch::Dims,
    player::CacheType,
    program::{Dispatch, Grid},
};

/// Words of an operation in `tables`.
const MICRO_WORDS: usize = 16;
/// Columns a workgroup of its own is worth, when a row is shared.
const COLUMNS_A_WORKGROUP: usize = 1024;

/// The kinds of operations, as `rowwise.wgsl` numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Kind {
    RmsNorm,
    Rope,
    GatedMul,
    Add,
    Gather,
    Hadamard,
    Permute,
    CacheWrite,
}

/// One operation.
#[derive(Clone, Copy, Debug)]
struct Micro {
    kind: Kind,
    heads: usize,
    width: usize,
    extra: u32,
    scale: f32,
    x: Place,
    y: Place,
    out: Place,
}

impl Micro {
    fn words(&self) -> [u32; MICRO_WORDS] {
        let Micro { kind, heads, width, extra, scale, x, y, out } = *self;
        let place = |place: Place| [place.base, place.stride, place.head_stride];
        let ([a, b, c], [d, e, f], [g, h, i]) = (place(x), place(y), place(out));
        let (heads, width) = (heads as u32, width as u32);
        [kind as u32, heads, width, extra, scale.to_bits(), a, b, c, d, e, f, g, h, i, 0, 0]
    }
}

/// Operations of the same rows that wait for their dispatch.
#[derive(Debug, Default)]
pub(super) struct List {
    micros: Vec<Micro>,
    rows: Option<Rows>,
    cache: Option<CacheId>,
    last_step: usize,
    /// The norm, if the list is one of a whole row and nothing else.
    norm: Option<Norm>,
}

impl Lowering<'_> {
    /// Takes a row-wise step.
    pub(super) fn rowwise(&mut self, step: usize, op: &Op) {
        let (rows, cache, micro) = self.micro(op);
        if let Op::Permute { order, .. } = op {
            // The operation says that they begin where the tables end.
            self.listing.tables.extend_from_slice(order);
        }
        let list = &self.micros;
        let other_cache = cache.is_some() && list.cache.is_some() && cache != list.cache;
        if list.rows.is_some_and(|held| held != rows) || other_cache {
            self.flush();
        }
        let list = &mut self.micros;
        list.rows = Some(rows);
        list.cache = list.cache.or(cache);
        list.norm = match op {
            Op::RmsNorm { x, weight, eps, out } if list.micros.is_empty() && x.heads == 1 => {
                Some(Norm { weight: *weight, eps: *eps, x: *x, out: *out })
            }
            _ => None,
        };
        list.micros.push(micro);
        list.last_step = step;
    }

    /// The norm that waits alone, if it makes `x` from something else and the products can make it on
    /// the way. It is not flushed any more then.
    pub(super) fn take_norm(&mut self, x: &View, products: &[Product]) -> Option<Norm> {
        let norm = self.micros.norm.filter(|norm| norm.out == *x && norm.x.buffer != x.buffer)?;
        // Every workgroup reads what is normalised, so none may write it.
        let written = products.iter().any(|product| product.out.buffer == norm.x.buffer);
        if written || !self.takes_norm(self.rows_of(x)) {
            return None;
        }
        self.micros = List::default();
        Some(norm)
    }

    /// Makes a dispatch of the operations that wait.
    pub(super) fn flush(&mut self) {
        let List { micros, rows, cache, last_step, .. } = std::mem::take(&mut self.micros);
        let Some(rows) = rows else { return };
        let first = self.listing.tables.len() as u32;
        self.listing.tables.extend(micros.iter().flat_map(Micro::words));
        let store = match (cache, self.scene.cache_type) {
            (None, _) => "shader/store/none",
            (_, CacheType::F32) => "shader/store/f32",
            (_, CacheType::F16) => "shader/store/f16",
        };
        // Only operations without a sum over the row can share it among workgroups.
        let shared = match micros[..] {
            [Micro { kind: Kind::RmsNorm, .. }] => 1,
            [only] => (only.heads * only.width).div_ceil(COLUMNS_A_WORKGROUP),
            _ => 1,
        };
        let grid: Grid = Box::new(move |dims: &Dims| [row_count(rows, dims), shared, 1]);
        let kernel = self.plan.steps[last_step].op.kernel().name;
        self.push(Dispatch {
            step: last_step,
            kernel,
            variant: Variant { file: "shader/rowwise", slots: vec![("store", store)], constants: Vec::new() },
            words: vec![first, micros.len() as u32, rows_word(rows)],
            slab: None,
            cache,
            grid,
        });
    }

    /// The rows, the cache and the operation of a row-wise step.
    fn micro(&self, op: &Op) -> (Rows, Option<CacheId>, Micro) {
        let nowhere = Place { base: 0, stride: 0, head_stride: 0 };
        let micro = |kind, x: &View, out: &View| Micro {
            kind,
            heads: x.heads,
            width: x.width,
            extra: 0,
            scale: 0.0,
            x: self.place(x),
            y: nowhere,
            out: self.place(out),
        };
        let (rows, cache, micro) = match op {
            Op::RmsNorm { x, weight, eps, out } => {
                let extra = self.scene.places.vector(*weight);
                (self.rows_of(x), None, Micro { extra, scale: *eps, ..micro(Kind::RmsNorm, x, out) })
            }
            Op::Rope { x, frequencies, style, scale, out } => {
                let half = u32::from(*style == RopeStyle::Half);
                let extra = 2 * self.rotations.number(*frequencies) + half;
                (self.rows_of(x), None, Micro { extra, scale: *scale, ..micro(Kind::Rope, x, out) })
            }
            Op::GatedMul { gate, up, activation, out } => {
                let (extra, scale) = activation_words(*activation);
                let y = self.place(up);
                (self.rows_of(gate), None, Micro { extra, scale, y, ..micro(Kind::GatedMul, gate, out) })
            }
            Op::Add { x, out } => (self.rows_of(x), None, micro(Kind::Add, x, out)),
            Op::Hadamard { x, block, out } => {
                let (extra, scale) = (*block as u32, (*block as f32).powf(-0.5));
                (self.rows_of(x), None, Micro { extra, scale, ..micro(Kind::Hadamard, x, out) })
            }
            Op::Permute { x, out, .. } => {
                let extra = self.listing.tables.len() as u32;
                (self.rows_of(x), None, Micro { extra, ..micro(Kind::Permute, x, out) })
            }
            Op::Gather { x, out } => (Rows::Outputs, None, micro(Kind::Gather, x, out)),
            Op::CacheWrite { x, cache, start } => {
                let stride = self.scene.cache_strides[cache.0 as usize] as u32;
                let out = Place { base: 0, stride, head_stride: 0 };
                let micro = Micro { extra: *start as u32, out, ..micro(Kind::CacheWrite, x, x) };
                (Rows::Tokens, Some(*cache), micro)
            }
            _ => unreachable!("{op:?} is not row-wise"),
        };
        (rows, cache, micro)
    }
}

/// An activation as kernels number them, and its limit.
pub(super) fn activation_words(activation: Activation) -> (u32, f32) {
    match activation {
        Activation::Silu => (0, 0.0),
        Activation::GeluTanh => (1, 0.0),
        Activation::ClampedSwiglu { limit } => (2, limit),
    }
}
