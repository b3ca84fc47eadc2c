//! Weights on the device: matrices in kernel order in a few large buffers (slabs), vectors in one.
//!
//! ```text
//!  slab 0: codes  | q_a | kv_a | q_b | ...          scales | codebook | q_a | kv_a | ...
//!  slab 1: codes  | experts of layer 3 | ...        scales | codebook | ...
//! ```
//!
//! The weights of a step stand in one slab where they fit in one, so that one dispatch can read them
//! all. A matrix larger than one binding is cut into pieces of rows. All lookup codes of a slab have one
//! codebook, which stands before the scales.

use std::{collections::HashMap, ops::Range, sync::Arc};

use marlin_format::Weight;
use marlin_kernel::plan::{Op, Plan, WeightId};
use rayon::prelude::*;

use crate::{Error, GpuInfo, device::Device, order::Order};

/// Bytes that wait in staging memory at once while weights are uploaded.
const STAGING_BYTES: usize = 32 << 20;
/// Bytes to which the start of a piece is rounded up, at least.
const ALIGN: u64 = 256;
/// Bytes before the first scale of a slab: a codebook, filled up.
const CODEBOOK_BYTES: u64 = ALIGN;
/// Bytes of a slab's codes that are not exceeded without need.
const SLAB_BYTES: u64 = 1 << 30;

/// Some rows of a matrix in a slab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub rows: Range<usize>,
    pub slab: usize,
    /// First byte among the slab's codes, a multiple of 256 and of a block.
    pub codes: u64,
    /// First byte among the slab's scales, a multiple of 256.
    pub scales: u64,
}

/// A slab being filled.
#[derive(Clone)]
struct Slab {
    /// Bytes of codes and of scales, the codebook's among these.
    codes: u64,
    scales: u64,
    /// Of its lookup codes; empty as long as there are none.
    codebook: Arc<[f32]>,
}

impl Slab {
    fn new() -> Slab {
        Slab { codes: 0, scales: CODEBOOK_BYTES, codebook: Arc::default() }
    }

    /// Whether so many bytes more of codes and of scales stay within `limit`, and `codebook` can be its.
    fn takes(&self, (codes, scales): (u64, u64), codebook: &[f32], limit: u64) -> bool {
        let free = codebook.is_empty() || self.codebook.is_empty() || *self.codebook == *codebook;
        free && self.codes + codes <= limit && self.scales + scales <= limit
    }
}

/// Where every weight of a plan stands.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pieces: HashMap<WeightId, Vec<Piece>>,
    /// First word of each vector.
    vectors: HashMap<WeightId, u32>,
}

impl Places {
    /// The pieces of a matrix that some step names.
    pub fn pieces(&self, id: WeightId) -> &[Piece] {
        &self.pieces[&id]
    }

    /// First word of a vector that some step names.
    pub fn vector(&self, id: WeightId) -> u32 {
        self.vectors[&id]
    }
}

/// Where every weight of a plan is to stand, and what that takes.
pub(crate) struct Layout {
    places: Places,
    slabs: Vec<Slab>,
    vector_words: Vec<u32>,
}

impl Layout {
    /// Places the weights of a plan.
    ///
    /// # Errors
    /// [`Error::Binding`] when one row of a matrix is too large.
    pub fn new(plan: &Plan, info: &GpuInfo) -> Result<Layout, Error> {
        let limit = info.max_binding;
        let mut layout = Layout { places: Places::default(), slabs: Vec::new(), vector_words: Vec::new() };
        for step in &plan.steps {
            let (matrices, vectors) = weights_of(&step.op);
            for id in vectors {
                layout.place_vector(plan, id);
            }
            let mut fresh: Vec<WeightId> = Vec::new();
            for id in matrices {
                if !layout.places.pieces.contains_key(&id) && !fresh.contains(&id) {
                    fresh.push(id);
                }
            }
            layout.place_together(plan, &fresh, limit).map_err(|(what, found)| Error::Binding {
                device: info.name.clone(),
                what,
                found,
                limit,
            })?;
        }
        Ok(layout)
    }

    fn place_vector(&mut self, plan: &Plan, id: WeightId) {
        let Layout { places, vector_words, .. } = self;
        places.vectors.entry(id).or_insert_with(|| {
            let at = vector_words.len() as u32;
            vector_words.extend(plan.weight(id).to_f32().into_iter().map(f32::to_bits));
            at
        });
    }

    /// Places matrices that have one codebook, or none, in one slab if they fit in one, else one after
    /// another; those with another codebook after them.
    fn place_together(&mut self, plan: &Plan, ids: &[WeightId], limit: u64) -> Result<(), (String, u64)> {
        let books = || ids.iter().map(|id| &*plan.weight(*id).parts().codebook);
        let book = books().find(|book| !book.is_empty()).unwrap_or_default();
        let (ids, others): (Vec<WeightId>, Vec<WeightId>) = ids.iter().partition(|id| {
            let own = &*plan.weight(**id).parts().codebook;
            own.is_empty() || own == book
        });
        let size = |id: &WeightId| {
            let weight = plan.weight(*id);
            let (codes, scales) = bytes(weight);
            // What lies before may have to be filled up to a whole block.
            let fill = code_align(weight) - ALIGN;
            (codes.next_multiple_of(ALIGN) + fill, scales.next_multiple_of(ALIGN))
        };
        let sum = |a: (u64, u64), b: (u64, u64)| (a.0 + b.0, a.1 + b.1);
        let total = ids.iter().map(size).fold((0, 0), sum);
        let usual = SLAB_BYTES.min(limit);
        let open = self.slabs.iter().rposition(|slab| slab.takes(total, book, usual));
        let mut at = open.unwrap_or(self.slabs.len());
        if open.is_none() && !ids.is_empty() {
            self.slabs.push(Slab::new());
        }
        for id in &ids {
            let weight = plan.weight(*id);
            let mut pieces = Vec::new();
            if self.slabs[at].takes(size(id), book, limit) {
                pieces.push(self.place(weight, 0..weight.rows(), at));
            } else {
                let (codes, scales) = row_bytes(weight);
                let most = (limit - ALIGN - CODEBOOK_BYTES) / (codes.max(scales) as u64);
                if most == 0 {
                    return Err((format!("a row of {}", plan.weights[id.0 as usize].0), codes as u64));
                }
                for start in (0..weight.rows()).step_by(most as usize) {
                    if self.slabs[at].codes > 0 {
                        self.slabs.push(Slab::new());
                        at = self.slabs.len() - 1;
                    }
                    pieces.push(self.place(weight, start..weight.rows().min(start + most as usize), at));
                }
            }
            self.places.pieces.insert(*id, pieces);
        }
        if others.is_empty() { Ok(()) } else { self.place_together(plan, &others, limit) }
    }

    /// Places rows in a slab.
    fn place(&mut self, weight: &Weight, rows: Range<usize>, at: usize) -> Piece {
        let (codes, scales) = row_bytes(weight);
        let slab = &mut self.slabs[at];
        let start = slab.codes.next_multiple_of(code_align(weight));
        let piece = Piece { rows: rows.clone(), slab: at, codes: start, scales: slab.scales };
        slab.codes = (start + (rows.len() * codes) as u64).next_multiple_of(ALIGN);
        slab.scales = (slab.scales + (rows.len() * scales) as u64).next_multiple_of(ALIGN);
        if !weight.parts().codebook.is_empty() {
            slab.codebook = weight.parts().codebook.clone();
        }
        piece
    }

    /// Bytes of all weights on the device.
    pub fn bytes(&self) -> u64 {
        let matrices: u64 = self.slabs.iter().map(|slab| slab.codes + slab.scales).sum();
        matrices + 4 * self.vector_words.len() as u64
    }
}

/// The weights of a plan on a device.
#[derive(Debug)]
pub(crate) struct Weights<D: Device> {
    /// Codes and scales of each slab.
    pub slabs: Vec<(D::Buffer, D::Buffer)>,
    /// All vectors.
    pub vectors: D::Buffer,
}

impl<D: Device> Weights<D> {
    /// Allocates the slabs and fills them. Host memory holds a few pieces of 32 MiB at a time.
    ///
    /// # Errors
    /// [`Error::Memory`] or [`Error::Device`].
    pub fn upload(
        layout: Layout,
        plan: &Plan,
        device: &D,
        memory: (u64, u64),
    ) -> Result<(Places, Weights<D>), Error> {
        let (mut taken, needed) = memory;
        let Layout { places, slabs: sizes, vector_words } = layout;
        let mut slabs = Vec::new();
        for Slab { codes, scales, codebook } in sizes {
            let code_buffer = device.storage("weights", codes, (taken, needed))?;
            taken += codes;
            let scale_buffer = device.storage("weights", scales, (taken, needed))?;
            taken += scales;
            let codebook: Vec<u8> = codebook.iter().flat_map(|value| value.to_le_bytes()).collect();
            device.write(&scale_buffer, 0, &codebook);
            slabs.push((code_buffer, scale_buffer));
        }
        let vectors = device.filled("vectors", &vector_words)?;
        for (id, (_, weight)) in plan.weights.iter().enumerate() {
            for piece in places.pieces.get(&WeightId(id as u32)).into_iter().flatten() {
                upload(device, weight, piece, &slabs[piece.slab])?;
            }
        }
        device.flush()?;
        Ok((places, Weights { slabs, vectors }))
    }
}

/// Brings the rows of a piece into kernel order on all threads and copies them to its slab.
fn upload<D: Device>(
    device: &D,
    weight: &Weight,
    piece: &Piece,
    (codes_buffer, scales_buffer): &(D::Buffer, D::Buffer),
) -> Result<(), Error> {
    let order = Order::of(weight.format());
    let (codes, scales) = row_bytes(weight);
    // Copies are multiples of 4 bytes: 4 rows are, whatever a row is.
    let step = (STAGING_BYTES / (codes + scales)).max(4) & !3;
    for start in piece.rows.clone().step_by(step) {
        let rows = piece.rows.end.min(start + step) - start;
        let offset = (start - piece.rows.start) as u64;
        let mut code_rows = vec![0u8; rows * codes];
        let mut scale_rows = vec![0u8; (rows * scales).next_multiple_of(4)];
        let each = |(at, out): (usize, &mut [u8])| order.codes_row(weight, start + at, out);
        code_rows.par_chunks_exact_mut(codes).enumerate().for_each(each);
        device.write(codes_buffer, piece.codes + offset * codes as u64, &code_rows);
        if scales > 0 {
            let each = |(at, out): (usize, &mut [u8])| order.scales_row(weight, start + at, out);
            scale_rows[..rows * scales].par_chunks_exact_mut(scales).enumerate().for_each(each);
            device.write(scales_buffer, piece.scales + offset * scales as u64, &scale_rows);
        }
        if rows * (codes + scales) >= STAGING_BYTES / 2 {
            // What has been staged is copied and freed before more is staged.
            device.flush()?;
        }
    }
    device.check()
}

/// Bytes of codes and of scales of a row in kernel order.
fn row_bytes(weight: &Weight) -> (usize, usize) {
    Order::of(weight.format()).row_bytes(weight.cols())
}

/// What the first byte of a weight's codes is a multiple of: [`ALIGN`] and a block, in which kernels count.
fn code_align(weight: &Weight) -> u64 {
    let block = Order::of(weight.format()).block_bytes();
    ALIGN * (block >> block.trailing_zeros()) as u64
}

/// Bytes of codes and of scales of a whole weight.
fn bytes(weight: &Weight) -> (u64, u64) {
    let (codes, scales) = row_bytes(weight);
    ((codes * weight.rows()) as u64, (scales * weight.rows()) as u64)
}

/// The matrices and the vectors that a step reads.
fn weights_of(op: &Op) -> (Vec<WeightId>, Vec<WeightId>) {
    match op {
        Op::Embed { table, .. } => (vec![*table], Vec::new()),
        Op::RmsNorm { weight, .. } => (Vec::new(), vec![*weight]),
        Op::MatMul { products, .. } => {
            let matrices = products.iter().map(|product| product.weight).collect();
            (matrices, products.iter().filter_map(|product| product.bias).collect())
        }
        Op::HeadMatMul { weight, .. } => (vec![*weight], Vec::new()),
        Op::Attention { sinks: vector, .. } | Op::MoeRoute { bias: vector, .. } => {
            (Vec::new(), vector.iter().copied().collect())
        }
        Op::MoeExperts { bank, shared, .. } => {
            let all = || bank.iter().chain(shared);
            let biases = all().filter_map(|expert| expert.bias);
            (
                all().flat_map(|expert| [expert.gate, expert.up, expert.down]).collect(),
                biases.flat_map(|bias| [bias.gate, bias.up, bias.down]).collect(),
            )
        }
        _ => (Vec::new(), Vec::new()),
    }
}
