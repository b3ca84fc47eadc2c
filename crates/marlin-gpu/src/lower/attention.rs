//! Attention: tiles of queries that share the cache rows they read, split along the positions where
//! there are few of them, then merged.

use marlin_kernel::{
    plan::{AttentionShape, Op},
    shader::Variant,
};

use super::{Lowering, NONE};
use crate::{
    Matrices,
    batch::Dims,
    player::CacheType,
    program::{Dispatch, Grid},
};

/// Positions that a split is worth at least: two rounds of 32, of about 2 us each on an H100.
const SPLIT_POSITIONS: usize = 64;
/// Value columns of a workgroup of `attend.wgsl`.
const VALUE_COLUMNS: usize = 512;
/// Value columns of a workgroup of `merge.wgsl`.
const MERGE_COLUMNS: usize = 32;
/// Workgroup memory of the larger variant for latents: its two rounds of positions.
const LATENT_BYTES: u32 = 48_832;

/// What decides the grid of attention.
#[derive(Clone, Copy, Debug)]
struct Tiling {
    heads: usize,
    kv_heads: usize,
    v_width: usize,
    /// Queries of a tile.
    pairs: usize,
    /// Workgroups that share the value columns of a tile.
    columns: usize,
    /// Workgroups in all, at most, where the positions are split.
    workgroups: usize,
}

impl Tiling {
    fn tiles(&self, dims: &Dims) -> usize {
        let group = self.heads / self.kv_heads;
        dims.row_counts.iter().map(|rows| (rows * group).div_ceil(self.pairs)).sum()
    }

    /// Runs the positions are cut into: 1 where the tiles alone keep the device busy.
    fn splits(&self, dims: &Dims) -> usize {
        let workgroups = (self.tiles(dims) * self.kv_heads * self.columns).max(1);
        let useful = dims.longest.div_ceil(SPLIT_POSITIONS);
        (self.workgroups / workgroups).min(useful).max(1)
    }

    /// Words of scratch memory.
    fn scratch(&self, dims: &Dims) -> usize {
        match self.splits(dims) {
            1 => 0,
            splits => 4 + self.tiles(dims) * self.kv_heads * splits * self.pairs * (self.v_width + 2),
        }
    }
}

impl Lowering<'_> {
    /// Takes an `Attention` step.
    pub(super) fn attention(&mut self, step: usize, op: &Op) {
        let Op::Attention { q, cache, shape, sinks, out } = op else {
            unreachable!("{op:?} is no attention")
        };
        let stride = self.scene.cache_strides[cache.0 as usize];
        let (variant, pairs, columns) = match self.matrix_variant(q.heads / shape.kv_heads, stride, shape) {
            Some((variant, pairs)) => (variant, pairs, 1),
            None => {
                let pairs = self.plain_pairs(q.heads / shape.kv_heads);
                let slots = vec![("cache", self.cache_snippet(stride, shape))];
                let constants = vec![("PAIRS", pairs as u32)];
                let variant = Variant { file: "attention/attend", slots, constants };
                (variant, pairs, shape.v_width.div_ceil(VALUE_COLUMNS))
            }
        };
        let (heads, kv_heads, v_width) = (q.heads, shape.kv_heads, shape.v_width);
        let tiling =
            Tiling { heads, kv_heads, v_width, pairs, columns, workgroups: self.scene.tuning.workgroups };
        let mut words: Vec<u32> = Vec::new();
        for place in [self.place(q), self.place(out)] {
            words.extend([place.base, place.stride, place.head_stride]);
        }
        words.extend([heads, kv_heads, shape.k_start, shape.k_width].map(|word| word as u32));
        words.extend([shape.v_start, v_width, stride, shape.window.unwrap_or(0)].map(|word| word as u32));
        words.push(shape.scale.to_bits());
        words.push(sinks.map_or(NONE, |sinks| self.scene.places.vector(sinks)));
        self.push(Dispatch {
            step,
            kernel: "attention",
            variant,
            words: words.clone(),
            slab: None,
            cache: Some(*cache),
            grid: Box::new(move |dims| [tiling.tiles(dims), kv_heads * columns, tiling.splits(dims)]),
        });
        let merged = v_width.div_ceil(MERGE_COLUMNS);
        let grid: Grid = Box::new(move |dims| match tiling.splits(dims) {
            1 => [0; 3],
            _ => [dims.tokens, heads, merged],
        });
        self.plain(step, "attention", "attention/merge", words, grid);
        self.listing.scratch.push(Box::new(move |dims| tiling.scratch(dims)));
    }

    /// Queries of a tile of `attend.wgsl`: at decode the heads that share their keys, of a prompt
    /// neighbouring rows too.
    fn plain_pairs(&self, group: usize) -> usize {
        let least = if self.class.decode { group } else { 16 };
        [4, 8, 16, 20].into_iter().find(|pairs| *pairs >= least).unwrap_or(20)
    }

    /// The variant with cooperative matrices for these heads and its queries a tile, where there is one.
    fn matrix_variant(
        &self,
        group: usize,
        stride: usize,
        shape: &AttentionShape,
    ) -> Option<(Variant, usize)> {
        let info = &self.scene.info;
        let matrices = match info.matrices? {
            Matrices::Size16 => "attention/matrix16",
            Matrices::Size8 => "attention/matrix8",
        };
        let aligned = [shape.k_start, shape.v_start, stride].iter().all(|size| size.is_multiple_of(4));
        let half = self.scene.cache_type == CacheType::F16;
        if !aligned || !half || info.subgroup_sizes != (32, 32) {
            return None;
        }
        let latent = shape.kv_heads == 1 && shape.k_start == shape.v_start;
        let few = self.class.decode && group <= 16;
        let (pairs, positions) = match (shape.k_width, shape.v_width, latent) {
            (576, 512, true) if info.workgroup_memory >= LATENT_BYTES => (32, 32),
            (576, 512, true) => (32, 16),
            (128, 128, false) | (64, 64, false) if few => (16, 32),
            (128, 128, false) if info.workgroup_memory < 32 << 10 => (32, 32),
            (128, 128, false) | (64, 64, false) => (64, 32),
            _ => return None,
        };
        let constants = vec![
            ("PAIRS", pairs),
            ("POSITIONS", positions),
            ("K_WIDTH", shape.k_width as u32),
            ("V_WIDTH", shape.v_width as u32),
            ("LATENT", u32::from(latent)),
        ];
        let slots = vec![("matrices", matrices)];
        Some((Variant { file: "attention/matrix", slots, constants }, pairs as usize))
    }

    /// How attention reads a cache: four values at once where keys and values start and end so.
    fn cache_snippet(&self, stride: usize, shape: &AttentionShape) -> &'static str {
        let sizes = [shape.k_start, shape.k_width, shape.v_start, shape.v_width];
        let aligned = sizes.iter().chain([&stride]).all(|size| size.is_multiple_of(4));
        match (self.scene.cache_type, aligned) {
            (CacheType::F32, _) => "shader/cache/f32",
            (CacheType::F16, true) => "shader/cache/f16",
            (CacheType::F16, false) => "shader/cache/f16_scalar",
        }
    }
}
