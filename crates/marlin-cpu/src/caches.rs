//! The paged key/value caches of a player: allocated once, checked against the machine's memory.

use half::{
    f16,
    slice::{HalfBitsSliceExt, HalfFloatSliceExt},
};
use marlin_kernel::{
    Batch, Error,
    attention::simd::{CacheRows, CacheValues},
    plan::{CacheId, Plan, View},
};
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::buffers::{Buffers, segment};

/// How cache values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheType {
    /// IEEE single.
    F32,
    /// IEEE half: half the memory, keys and values rounded to 11 bits.
    F16,
}

impl CacheType {
    /// Bytes of one value.
    pub const fn bytes(self) -> usize {
        match self {
            CacheType::F32 => 4,
            CacheType::F16 => 2,
        }
    }
}

#[derive(Debug)]
enum Values {
    F32(Vec<f32>),
    // Bits: zeroed memory of a primitive type costs nothing until it is used.
    F16(Vec<u16>),
}

/// All caches of a plan.
#[derive(Debug)]
pub(crate) struct Caches {
    page_size: usize,
    pages: usize,
    values: Vec<(usize, Values)>,
}

impl Caches {
    /// Zeroed caches of `pages` pages of `page_size` tokens.
    pub(crate) fn new(plan: &Plan, kind: CacheType, page_size: usize, pages: usize) -> Result<Caches, Error> {
        let system =
            System::new_with_specifics(RefreshKind::nothing().with_memory(MemoryRefreshKind::everything()));
        let limit = system.cgroup_limits().map_or(u64::MAX, |limits| limits.free_memory);
        let available = system.available_memory().min(limit);
        let width: usize = plan.caches.iter().map(|cache| cache.width).sum();
        let tokens = page_size.checked_mul(pages);
        let bytes = tokens.and_then(|tokens| tokens.checked_mul(width)?.checked_mul(kind.bytes()));
        if bytes.is_none_or(|bytes| bytes as u64 > available) {
            let gib = |bytes: f64| format!("{:.1} GiB", bytes / f64::from(1 << 30));
            let needed = gib(pages as f64 * page_size as f64 * width as f64 * kind.bytes() as f64);
            return Err(Error::Device {
                device: "cpu".to_owned(),
                reason: format!(
                    "caches: {pages} pages of {page_size} tokens need {needed}, {} are available",
                    gib(available as f64)
                ),
            });
        }
        let zeroed = |cache: &marlin_kernel::plan::Cache| {
            let len = page_size * pages * cache.width;
            match kind {
                CacheType::F32 => (cache.width, Values::F32(vec![0.0; len])),
                CacheType::F16 => (cache.width, Values::F16(vec![0; len])),
            }
        };
        Ok(Caches { page_size, pages, values: plan.caches.iter().map(zeroed).collect() })
    }

    /// Tokens of a page.
    pub(crate) fn page_size(&self) -> usize {
        self.page_size
    }

    /// Pages of every cache.
    pub(crate) fn pages(&self) -> usize {
        self.pages
    }

    /// Stores the columns of `x` of every row of the batch at its position, from column `start` on.
    pub(crate) fn write(&mut self, cache: CacheId, start: usize, x: &View, buffers: &Buffers, batch: &Batch) {
        let (width, values) = &mut self.values[cache.0 as usize];
        for sequence in &batch.sequences {
            for row in sequence.rows.clone() {
                let slot = sequence.slot(batch.positions[row] as usize, self.page_size);
                let from = buffers.row(x.buffer, row);
                for head in 0..x.heads {
                    let (at, from) = (slot * *width + start + head * x.width, segment(from, x, head));
                    match values {
                        Values::F32(values) => values[at..][..x.width].copy_from_slice(from),
                        Values::F16(values) => {
                            values[at..][..x.width]
                                .reinterpret_cast_mut::<f16>()
                                .convert_from_f32_slice(from);
                        }
                    }
                }
            }
        }
    }

    /// The rows of the sequence that has `pages`.
    pub(crate) fn rows<'a>(&'a self, cache: CacheId, pages: &'a [u32]) -> CacheRows<'a> {
        let (width, values) = &self.values[cache.0 as usize];
        let values = match values {
            Values::F32(values) => CacheValues::F32(values),
            Values::F16(values) => CacheValues::F16(values.reinterpret_cast()),
        };
        CacheRows { values, width: *width, page_size: self.page_size, pages }
    }
}
