//! Builds a plan from named tensors, and collects every tensor that is missing before it complains.

use std::{collections::HashMap, sync::Arc};

use marlin_file::Ordered;
use marlin_format::Weight;
use marlin_kernel::plan::{Op, Plan, Product, Rows, View, WeightId, Word};

use crate::{Error, Tensors, rope::Frequencies};

/// The order of a weight's columns; `None` for the model's.
type Order = Option<Arc<[u32]>>;

/// A plan under construction, and the tensors it is made of.
pub struct Builder<'a> {
    tensors: &'a dyn Tensors,
    plan: Plan,
    missing: Vec<String>,
    scratch: Vec<(String, View)>,
    /// Weights whose columns are in another order than the model's.
    orders: HashMap<WeightId, Arc<[u32]>>,
    /// Columns of the blocks in which the inputs of down projections are rotated.
    rotation: Option<usize>,
}

impl<'a> Builder<'a> {
    /// An empty plan over `tensors`, in which the inputs of down projections are rotated in blocks of
    /// `rotation` columns.
    pub fn new(tensors: &'a dyn Tensors, rotation: Option<usize>) -> Builder<'a> {
        Builder {
            tensors,
            plan: Plan::default(),
            missing: Vec::new(),
            scratch: Vec::new(),
            orders: HashMap::new(),
            rotation,
        }
    }

    /// Columns of the blocks in which the inputs of down projections are rotated.
    pub fn rotation(&self) -> Option<usize> {
        self.rotation
    }

    /// The finished plan, checked.
    ///
    /// # Errors
    /// [`Error::Missing`] with the names of all absent tensors; [`Error::Kernel`] for a plan that does
    /// not fit itself.
    pub fn finish(self) -> Result<Plan, Error> {
        if !self.missing.is_empty() {
            return Err(Error::Missing { names: self.missing });
        }
        self.plan.check()?;
        Ok(self.plan)
    }

    /// The plan so far.
    pub fn plan(&mut self) -> &mut Plan {
        &mut self.plan
    }

    /// Whether the file has a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.has(name)
    }

    /// A buffer with one row per token, shared by all callers that use the same label and width: steps
    /// run in order, so a layer may reuse what the layer before is done with.
    pub fn buffer(&mut self, label: &str, width: usize) -> View {
        self.typed_buffer(label, width, Word::F32)
    }

    /// As [`Builder::buffer`], of integers.
    pub fn index_buffer(&mut self, label: &str, width: usize) -> View {
        self.typed_buffer(label, width, Word::U32)
    }

    fn typed_buffer(&mut self, label: &str, width: usize, word: Word) -> View {
        let found = self.scratch.iter().find(|(name, view)| name == label && view.width == width);
        if let Some((_, view)) = found {
            return *view;
        }
        let view = self.plan.add_buffer(label, Rows::Tokens, width, word);
        self.scratch.push((label.to_owned(), view));
        view
    }

    /// The matrix `name`, `[rows, cols]`, in whatever format the file holds.
    ///
    /// # Errors
    /// [`Error::Shape`] or the file's own; a missing tensor is noted for [`Builder::finish`].
    pub fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<WeightId, Error> {
        let weight = self.fetch(name, rows, cols)?;
        Ok(self.plan.add_weight(name, weight))
    }

    /// The vector `name` of `len` values as f32, each changed by `map`.
    ///
    /// # Errors
    /// As [`Builder::matrix`].
    pub fn vector_with(&mut self, name: &str, len: usize, map: fn(f32) -> f32) -> Result<WeightId, Error> {
        let weight = self.fetch(name, 1, len)?;
        let values: Vec<f32> = weight.to_f32().into_iter().map(map).collect();
        Ok(self.constant(name, &values))
    }

    /// The vector `name` of `len` values as f32.
    ///
    /// # Errors
    /// As [`Builder::matrix`].
    pub fn vector(&mut self, name: &str, len: usize) -> Result<WeightId, Error> {
        self.vector_with(name, len, |value| value)
    }

    /// Values computed here, as an f32 vector.
    pub fn constant(&mut self, label: &str, values: &[f32]) -> WeightId {
        self.plan.add_weight(label, vector(values))
    }

    fn fetch(&mut self, name: &str, rows: usize, cols: usize) -> Result<Weight, Error> {
        if !self.known(name) {
            return Ok(vector(&[]));
        }
        let weight = self.tensors.weight(name)?;
        expect(name, &weight, rows, cols)?;
        Ok(weight)
    }

    /// Whether there is a tensor of this name; takes note of its absence.
    fn known(&mut self, name: &str) -> bool {
        let known = self.tensors.has(name);
        if !known {
            self.missing.push(name.to_owned());
        }
        known
    }

    /// The matrix `name` for a product, which puts its input in the order of the weight's columns.
    fn factor(&mut self, name: &str, rows: usize, cols: usize) -> Result<WeightId, Error> {
        if !self.known(name) {
            return Ok(self.plan.add_weight(name, vector(&[])));
        }
        let Ordered { weight, order } = self.tensors.ordered(name)?;
        expect(name, &weight, rows, cols)?;
        let id = self.plan.add_weight(name, weight);
        if let Some(order) = order {
            self.orders.insert(id, order.into());
        }
        Ok(id)
    }

    /// Adds the rotary frequencies of a model, divided by the factors a GGUF may hold.
    ///
    /// # Errors
    /// As [`Builder::matrix`].
    pub fn frequencies(&mut self, frequencies: &Frequencies) -> Result<(WeightId, f32), Error> {
        const FACTORS: &str = "rope_freqs.weight";
        let mut radians = frequencies.radians.clone();
        if self.has(FACTORS) {
            let factors = self.fetch(FACTORS, 1, radians.len())?.to_f32();
            radians.iter_mut().zip(factors).for_each(|(radian, factor)| *radian /= factor);
        }
        Ok((self.constant("rope.frequencies", &radians), frequencies.scale))
    }

    /// Adds a step. Products with weights whose columns are in another order become several: each order of
    /// the input is made once.
    pub fn step(&mut self, label: impl AsRef<str>, op: Op) {
        let label = label.as_ref();
        let Op::MatMul { x, products } = op else { return self.plan.add_step(label, op) };
        // In order of first appearance.
        let mut sorted: Vec<(Order, Vec<Product>)> = Vec::new();
        for product in products {
            let order = self.orders.get(&product.weight).cloned();
            match sorted.iter_mut().find(|(known, _)| *known == order) {
                Some((_, products)) => products.push(product),
                None => sorted.push((order, vec![product])),
            }
        }
        for (order, products) in sorted {
            let x = order.map_or(x, |order| self.permute(label, x, order));
            self.plan.add_step(label, Op::MatMul { x, products });
        }
    }

    /// Adds a step that puts the columns of `x` in another order.
    fn permute(&mut self, label: &str, x: View, order: Arc<[u32]>) -> View {
        let out = match self.plan.buffer(x.buffer).rows {
            Rows::Tokens => self.buffer("columns", x.len()),
            Rows::Outputs => self.plan.add_buffer("output_columns", Rows::Outputs, x.len(), Word::F32),
        };
        let x = View { heads: 1, stride: x.len(), width: x.len(), ..x };
        self.plan.add_step(&format!("{label}.order"), Op::Permute { x, order, out });
        out
    }

    /// Adds `out = norm(x)` with the weight `{name}.weight`.
    ///
    /// # Errors
    /// As [`Builder::matrix`].
    pub fn rms_norm(&mut self, name: &str, x: View, eps: f32, out: View) -> Result<(), Error> {
        let weight = self.vector(&format!("{name}.weight"), x.width)?;
        self.step(name, Op::RmsNorm { x, weight, eps, out });
        Ok(())
    }

    /// A product with `{name}.weight`, and `{name}.bias` if `bias`.
    ///
    /// # Errors
    /// As [`Builder::matrix`].
    pub fn product(&mut self, name: &str, x: View, out: View, bias: bool) -> Result<Product, Error> {
        let weight = self.factor(&format!("{name}.weight"), out.len(), x.len())?;
        let bias = if bias { Some(self.vector(&format!("{name}.bias"), out.len())?) } else { None };
        Ok(Product { weight, bias, out, accumulate: false })
    }

    /// The last steps of every model: the rows that are wanted, the final norm, the head.
    ///
    /// # Errors
    /// As [`Builder::matrix`].
    pub fn head(&mut self, head: Head<'_>, x: View) -> Result<(), Error> {
        let hidden = self.plan.add_buffer("output", Rows::Outputs, x.width, Word::F32);
        let logits = self.plan.add_buffer("logits", Rows::Outputs, head.vocab_size, Word::F32);
        self.step("output", Op::Gather { x, out: hidden });
        self.step(head.norm, Op::RmsNorm { x: hidden, weight: head.norm_weight, eps: head.eps, out: hidden });
        let weight = match head.tied {
            Some(table) => table,
            None => self.factor("lm_head.weight", head.vocab_size, x.width)?,
        };
        let product = Product { weight, bias: None, out: logits, accumulate: false };
        self.step("lm_head", Op::MatMul { x: hidden, products: vec![product] });
        self.plan.add_sampling("sample", logits);
        self.plan.logits = Some(logits.buffer);
        Ok(())
    }
}

/// What [`Builder::head`] needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Label of the final norm.
    pub norm: &'a str,
    /// Its weight.
    pub norm_weight: WeightId,
    /// Its epsilon.
    pub eps: f32,
    /// Rows of the head.
    pub vocab_size: usize,
    /// The embedding table, if it serves as head too.
    pub tied: Option<WeightId>,
}

/// Refuses a weight of another shape.
fn expect(name: &str, weight: &Weight, rows: usize, cols: usize) -> Result<(), Error> {
    let found = vec![weight.rows(), weight.cols()];
    if found == [rows, cols] {
        return Ok(());
    }
    Err(Error::Shape { name: name.to_owned(), found, expected: vec![rows, cols] })
}

/// `values` as one f32 row.
fn vector(values: &[f32]) -> Weight {
    Weight::from_f32(1, values.len(), values).expect("the length is that of the values")
}
