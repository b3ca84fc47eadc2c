//! Matrix products: `MatMul`, `HeadMatMul` and the rows of `Embed`.
//!
//! The products of a step that share format and slab go into one dispatch, four at most.

use marlin_format::Weight;
use marlin_kernel::{
    plan::{Op, Product, Rows, View, WeightId},
    shader::Variant,
};

use super::{FEW_ROWS, Lowering, row_count, rows_word};
use crate::{
    Error, Matrices,
    arena::Place,
    order::{BLOCK, Order},
    program::{Dispatch, Grid},
    weights::Piece,
};

/// Products of one dispatch.
const PRODUCTS: usize = 4;
/// Rows and outputs of a tile of `matmul.wgsl`.
const TILE: usize = 64;
/// Matrices along the side of a tile of `matmul_coop.wgsl`.
const MATRICES: usize = 8;
/// Weight rows of a workgroup of `matvec_coop.wgsl` with SPLIT 1, and the blocks of columns of its chunks.
const COOP_OUTS: usize = 64;
const COOP_CHUNK: usize = 4;
/// `bias` of a product without.
const NONE: u32 = u32::MAX;

/// Words of a `Step` before its products, and of each of them.
const STEP_WORDS: usize = 16;
const PRODUCT_WORDS: usize = 12;

/// How a product is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// `matvec.wgsl`, so many rows a workgroup.
    Few { rows: usize },
    /// `matvec_coop.wgsl`.
    FewMatrix,
    /// `matmul.wgsl`.
    Many,
    /// `matmul_coop.wgsl`.
    ManyMatrix(Matrices),
}

/// A norm that a product makes of its input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Norm {
    pub weight: WeightId,
    pub eps: f32,
    pub x: View,
    pub out: View,
}

/// The input of a dispatch, and what its products have in common.
struct Input<'a> {
    step: usize,
    kernel: &'static str,
    x: &'a View,
    /// Heads: 1 but for `HeadMatMul`.
    heads: usize,
    /// Words from head to head of the output.
    out_head: u32,
    norm: Option<Norm>,
}

/// One product, or some rows of one.
struct Part<'a> {
    weight: &'a Weight,
    piece: Piece,
    /// Outputs of a head.
    outs: usize,
    out: Place,
    bias: u32,
    accumulate: bool,
}

impl Lowering<'_> {
    /// Takes a `MatMul` step, whose input is normalised on the way if `norm` is given.
    pub(super) fn matmul(&mut self, step: usize, x: &View, products: &[Product], norm: Option<Norm>) {
        let mut parts: Vec<Part<'_>> = Vec::new();
        for product in products {
            let bias = product.bias.map(|bias| self.scene.places.vector(bias));
            for piece in self.scene.places.pieces(product.weight) {
                let first = piece.rows.start;
                let out = self.place(&product.out);
                parts.push(Part {
                    weight: self.plan.weight(product.weight),
                    piece: piece.clone(),
                    outs: piece.rows.len(),
                    out: Place { base: out.base + first as u32, ..out },
                    bias: bias.map_or(NONE, |bias| bias + first as u32),
                    accumulate: product.accumulate,
                });
            }
        }
        let mut input = Input { step, kernel: "matmul", x, heads: 1, out_head: 0, norm };
        self.convert(&input, self.plan.weight(products[0].weight).cols());
        while !parts.is_empty() {
            let like = |part: &Part<'_>| (Order::of(part.weight.format()), part.piece.slab);
            let first = like(&parts[0]);
            let (mut together, rest): (Vec<_>, Vec<_>) =
                std::mem::take(&mut parts).into_iter().partition(|part| like(part) == first);
            parts = rest;
            while !together.is_empty() {
                let after = together.split_off(together.len().min(PRODUCTS));
                self.products(&input, &together);
                // The first dispatch has stored the normalised rows.
                if let Some(norm) = input.norm.take() {
                    debug_assert_eq!(norm.out, *x, "a norm makes the input of its product");
                }
                together = after;
            }
        }
    }

    /// Takes a `HeadMatMul` step.
    ///
    /// # Errors
    /// [`Error::Binding`] when the weight is larger than one binding.
    pub(super) fn head_matmul(&mut self, step: usize, op: &Op) -> Result<(), Error> {
        let Op::HeadMatMul { x, weight: id, out } = op else { unreachable!("{op:?} is no head_matmul") };
        let weight = self.plan.weight(*id);
        let piece = self.single_piece(*id)?.clone();
        let place = self.place(out);
        let input =
            Input { step, kernel: "head_matmul", x, heads: x.heads, out_head: place.head_stride, norm: None };
        let part = Part { weight, piece, outs: out.width, out: place, bias: NONE, accumulate: false };
        self.convert(&input, weight.cols());
        self.products(&input, &[part]);
        Ok(())
    }

    /// How a product of these rows is made.
    fn way(&self, rows: Rows) -> Way {
        let class = self.class.rows(rows);
        match (class > FEW_ROWS, self.scene.info.matrices) {
            (false, Some(Matrices::Size16)) if class > 1 => Way::FewMatrix,
            (false, _) => Way::Few { rows: class.min(4) },
            (true, Some(matrices)) => Way::ManyMatrix(matrices),
            (true, None) => Way::Many,
        }
    }

    /// Whether a product of these rows can make a norm on the way.
    pub(super) fn takes_norm(&self, rows: Rows) -> bool {
        matches!(self.way(rows), Way::Few { .. })
    }

    /// Puts the input into scratch memory as f16, where the products want it there.
    fn convert(&mut self, input: &Input<'_>, cols: usize) {
        let (rows, heads, blocks) = (self.rows_of(input.x), input.heads, Order::blocks(cols));
        // Where matrices are stored whole, rows and columns are filled up.
        let (file, least, stored) = match self.way(rows) {
            Way::Few { .. } | Way::Many => return,
            Way::FewMatrix => ("matmul/convert_tiles", FEW_ROWS, blocks.next_multiple_of(COOP_CHUNK)),
            Way::ManyMatrix(_) => ("matmul/convert", 1, blocks),
        };
        let x = self.place(input.x);
        let columns = [x.base, x.stride, x.head_stride, cols as u32, blocks as u32];
        let words = [&[rows_word(rows)][..], &columns].concat();
        let grid: Grid = Box::new(move |dims| [(stored * 4).div_ceil(256), row_count(rows, dims), heads]);
        self.listing.scratch.push(Box::new(move |dims| {
            row_count(rows, dims).next_multiple_of(least) * heads * stored * BLOCK / 2
        }));
        self.plain(input.step, input.kernel, file, words, grid);
    }

    /// One dispatch of products with one input, format and slab.
    fn products(&mut self, input: &Input<'_>, parts: &[Part<'_>]) {
        let rows = self.rows_of(input.x);
        let way = self.way(rows);
        let order = Order::of(parts[0].weight.format());
        let total: usize = parts.iter().map(|part| part.outs * input.heads).sum();
        let outs = self.scene.tuning.matvec_for(total);
        let split = self.scene.tuning.split_for(total);
        let (outs_a_workgroup, rows_a_workgroup) = match way {
            Way::Few { rows } => (8 * outs, rows),
            Way::Many => (TILE, TILE),
            Way::FewMatrix => (COOP_OUTS / split, FEW_ROWS),
            Way::ManyMatrix(matrices) => (MATRICES * matrices.size(), MATRICES * matrices.size()),
        };
        let mut words = self.step_words(input, parts, order, rows);
        let mut tiles = 0;
        for (part, words) in parts.iter().zip(words[STEP_WORDS..].chunks_exact_mut(PRODUCT_WORDS)) {
            words[3] = tiles as u32;
            tiles += part.outs.div_ceil(outs_a_workgroup);
        }
        let mut slots = vec![("format", order.snippet())];
        let (file, constants) = match way {
            Way::Few { rows } => {
                let norm = u32::from(input.norm.is_some());
                let (rows, outs) = (rows as u32, outs as u32);
                let chunk = ("CHUNK", if rows == 1 { 64 } else { 32 });
                ("matmul/matvec", vec![("ROWS", rows), chunk, ("OUTS", outs), ("NORM", norm)])
            }
            Way::Many => ("matmul/matmul", Vec::new()),
            Way::FewMatrix => {
                slots.push(("halves", halves(order)));
                ("matmul/matvec_coop", vec![("SPLIT", split as u32)])
            }
            Way::ManyMatrix(Matrices::Size16) => {
                slots.extend([("tile", "matmul/tile16"), ("cells", "matmul/cells4")]);
                ("matmul/matmul_coop", Vec::new())
            }
            Way::ManyMatrix(Matrices::Size8) => {
                slots.extend([("tile", "matmul/tile8"), ("cells", "matmul/cells1")]);
                ("matmul/matmul_coop", Vec::new())
            }
        };
        let heads = input.heads;
        let grid: Grid =
            Box::new(move |dims| [tiles, row_count(rows, dims).div_ceil(rows_a_workgroup), heads]);
        self.push(Dispatch {
            step: input.step,
            kernel: input.kernel,
            variant: Variant { file, slots, constants },
            words,
            slab: Some(parts[0].piece.slab),
            cache: None,
            grid,
        });
    }

    /// The `Step` of a dispatch of products; the first workgroups of products are left 0.
    fn step_words(&self, input: &Input<'_>, parts: &[Part<'_>], order: Order, rows: Rows) -> Vec<u32> {
        let cols = parts[0].weight.cols();
        let x = self.place(input.norm.as_ref().map_or(input.x, |norm| &norm.x));
        let mut words = vec![
            rows_word(rows),
            x.base,
            x.stride,
            x.head_stride,
            cols as u32,
            Order::blocks(cols) as u32,
            order.groups(cols) as u32,
            order.shift(),
            parts.len() as u32,
            input.out_head,
        ];
        match &input.norm {
            Some(norm) => {
                let out = self.place(&norm.out);
                let weight = self.scene.places.vector(norm.weight);
                words.extend([weight, norm.eps.to_bits(), out.base, out.stride]);
            }
            None => words.extend([0; 4]),
        }
        words.extend([0, 0]);
        for part in parts {
            let (codes, scales) = units(order);
            words.extend([
                (part.piece.codes / codes) as u32,
                (part.piece.scales / scales) as u32,
                part.outs as u32,
                0,
                part.out.base,
                part.out.stride,
                part.bias,
                u32::from(part.accumulate),
                part.weight.parts().tensor_scale.to_bits(),
                0,
                0,
                0,
            ]);
        }
        words
    }

    /// Takes an `Embed` step.
    pub(super) fn embed(&mut self, step: usize, table: WeightId, scale: f32, out: &View) {
        let weight = self.plan.weight(table);
        let order = Order::of(weight.format());
        let (cols, out) = (weight.cols(), self.place(out));
        let (codes, scales) = units(order);
        let across = (Order::blocks(cols) * 4).div_ceil(256);
        let chosen = self.plan.sampling().map_or(out, |(_, chosen)| self.place(&chosen));
        for piece in self.scene.places.pieces(table) {
            let words = vec![
                (piece.codes / codes) as u32,
                (piece.scales / scales) as u32,
                piece.rows.start as u32,
                piece.rows.len() as u32,
                cols as u32,
                Order::blocks(cols) as u32,
                order.groups(cols) as u32,
                order.shift(),
                out.base,
                out.stride,
                (scale * weight.parts().tensor_scale).to_bits(),
                chosen.base,
                chosen.stride,
                weight.rows() as u32,
            ];
            self.listing.dispatches.push(Dispatch {
                step,
                kernel: "embed",
                variant: Variant {
                    file: "embed/embed",
                    slots: vec![("format", order.snippet())],
                    constants: Vec::new(),
                },
                words,
                slab: Some(piece.slab),
                cache: None,
                grid: Box::new(move |dims| [dims.tokens, across, 1]),
            });
        }
    }
}

/// How weights become halves for matrices: some formats have a way of their own.
fn halves(order: Order) -> &'static str {
    match order.snippet() {
        "shader/format/e2m1_e4m3" => "shader/halves/e2m1_e4m3",
        _ => "shader/halves/any",
    }
}

/// Bytes of what kernels count codes and scales in: blocks, and scales.
pub(super) fn units(order: Order) -> (u64, u64) {
    (order.block_bytes() as u64, order.scales.bytes().max(1) as u64)
}
