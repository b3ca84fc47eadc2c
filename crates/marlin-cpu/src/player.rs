//! The CPU player: plays the steps of a plan one after another, each on all threads.

use std::ops::Range;

use marlin_kernel::{
    Batch, Error, Player, Precision,
    plan::{BufferId, Op, Plan, WeightId},
    simd::Isa,
};

use crate::{
    attention::Attention,
    buffers::Buffers,
    caches::{CacheType, Caches},
    experts::Experts,
    products::Products,
    rowwise::{AngleTable, Rowwise, angles},
    sample::sample,
    threads::Threads,
};

/// How a plan is played.
#[derive(Clone, Debug)]
pub struct CpuOptions {
    /// Threads; 0 for one per physical core this process may use.
    pub threads: usize,
    /// Instructions; `None` for the best there are.
    pub isa: Option<Isa>,
    /// Activations in products with quantized weights.
    pub precision: Precision,
    /// Values of the caches; `None` for f32 with [`Precision::Exact`] and f16 otherwise.
    pub cache: Option<CacheType>,
    /// Tokens of a cache page.
    pub page_size: usize,
    /// Pages of the caches.
    pub pages: usize,
}

impl Default for CpuOptions {
    /// All cores, the best instructions, int8 activations, 4096 tokens in pages of 32.
    fn default() -> CpuOptions {
        let precision = Precision::Int8Activations;
        CpuOptions { threads: 0, isa: None, precision, cache: None, page_size: 32, pages: 128 }
    }
}

/// Plays plans on the threads of a CPU.
#[derive(Debug)]
pub struct CpuPlayer {
    plan: Plan,
    threads: Threads,
    state: State,
    description: String,
}

impl CpuPlayer {
    /// A player of `plan`; weights stay where they are, caches are allocated.
    ///
    /// # Errors
    /// [`Error::Step`] when the plan does not hold together, [`Error::Device`] when the caches do not
    /// fit in memory or threads cannot be started.
    pub fn new(plan: Plan, options: &CpuOptions) -> Result<CpuPlayer, Error> {
        plan.check()?;
        let isa = options.isa.unwrap_or_else(Isa::best);
        let int8 = options.precision == Precision::Int8Activations;
        let cache = options.cache.unwrap_or(if int8 { CacheType::F16 } else { CacheType::F32 });
        let threads = Threads::new(options.threads)?;
        let description = format!(
            "cpu, {isa}, {} thread{}, {} activations, {} cache",
            threads.count(),
            if threads.count() == 1 { "" } else { "s" },
            if int8 { "int8" } else { "f32" },
            if cache == CacheType::F16 { "f16" } else { "f32" },
        );
        let state = State {
            isa,
            batch: Batch::default(),
            buffers: Buffers::new(&plan),
            caches: Caches::new(&plan, cache, options.page_size, options.pages)?,
            vectors: Vectors::new(&plan),
            angles: AngleTable::default(),
            products: Products::new(isa, int8),
            partials: Vec::new(),
        };
        Ok(CpuPlayer { plan, threads, state, description })
    }

    /// What the batch chose that was played last.
    fn chosen(&self) -> Vec<u32> {
        let Some((_, out)) = self.plan.sampling() else { return Vec::new() };
        let rows = 0..self.state.buffers.rows(out.buffer);
        rows.map(|row| self.state.buffers.columns(&out, row)[0].to_bits()).collect()
    }
}

impl Player for CpuPlayer {
    fn describe(&self) -> String {
        self.description.clone()
    }

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn page_size(&self) -> usize {
        self.state.caches.page_size()
    }

    fn pages(&self) -> usize {
        self.state.caches.pages()
    }

    fn begin(&mut self, batch: &Batch) -> Result<(), Error> {
        batch.check(&self.plan, self.page_size(), self.pages())?;
        let mut resolved = batch.clone();
        resolved.resolve(&self.chosen(), self.plan.vocabulary())?;
        self.state.buffers.begin(&self.plan, batch);
        self.state.angles.begin();
        self.state.batch = resolved;
        Ok(())
    }

    fn run(&mut self, range: Range<usize>) -> Result<(), Error> {
        let CpuPlayer { plan, threads, state, .. } = self;
        threads.enter(|| plan.steps[range].iter().try_for_each(|step| state.play(plan, threads, &step.op)))
    }

    fn read(&mut self, buffer: BufferId) -> Result<Vec<f32>, Error> {
        Ok(self.state.buffers.values(buffer).to_vec())
    }

    fn write(&mut self, buffer: BufferId, values: &[f32]) -> Result<(), Error> {
        self.state.buffers.write(buffer, values)
    }
}

/// The f32 vectors of a plan (norms, biases, frequencies), decoded once.
#[derive(Debug)]
pub(crate) struct Vectors(Vec<Vec<f32>>);

impl Vectors {
    fn new(plan: &Plan) -> Vectors {
        let mut vectors = Vectors(vec![Vec::new(); plan.weights.len()]);
        for step in &plan.steps {
            match &step.op {
                Op::RmsNorm { weight: id, .. }
                | Op::Rope { frequencies: id, .. }
                | Op::Attention { sinks: Some(id), .. }
                | Op::MoeRoute { bias: Some(id), .. } => vectors.load(plan, *id),
                Op::MatMul { products, .. } => {
                    products.iter().filter_map(|product| product.bias).for_each(|id| vectors.load(plan, id));
                }
                Op::MoeExperts { bank, shared, .. } => {
                    let biases = bank.iter().chain(shared).filter_map(|expert| expert.bias);
                    let ids = biases.flat_map(|bias| [bias.gate, bias.up, bias.down]);
                    ids.for_each(|id| vectors.load(plan, id));
                }
                _ => {}
            }
        }
        vectors
    }

    fn load(&mut self, plan: &Plan, id: WeightId) {
        self.0[id.0 as usize] = plan.weight(id).to_f32();
    }

    /// A vector some step names.
    pub(crate) fn get(&self, id: WeightId) -> &[f32] {
        &self.0[id.0 as usize]
    }
}

/// All that changes while a plan is played.
#[derive(Debug)]
struct State {
    isa: Isa,
    batch: Batch,
    buffers: Buffers,
    caches: Caches,
    vectors: Vectors,
    angles: AngleTable,
    products: Products,
    partials: Vec<f32>,
}

impl State {
    fn play(&mut self, plan: &Plan, threads: &Threads, op: &Op) -> Result<(), Error> {
        let State { isa, batch, buffers, caches, vectors, angles: table, products, partials } = self;
        let mut rows = Rowwise { isa: *isa, threads, buffers };
        match op {
            Op::Embed { table, scale, out } => rows.embed(plan, batch, *table, *scale, out),
            Op::RmsNorm { x, weight, eps, out } => rows.rms_norm(x, vectors.get(*weight), *eps, out),
            Op::MatMul { x, products: list } => products.matmul(threads, (plan, vectors), buffers, x, list),
            Op::HeadMatMul { x, weight, out } => {
                products.head_matmul(threads, plan, buffers, (x, *weight, out));
            }
            Op::Rope { x, frequencies, style, scale, out } => {
                rows.rope(angles(table, vectors, batch, *frequencies, *scale), *style, x, out);
            }
            Op::CacheWrite { x, cache, start } => caches.write(*cache, *start, x, buffers, batch),
            Op::Attention { q, cache, shape, sinks, out } => {
                let sinks = sinks.map(|id| vectors.get(id));
                let attention = Attention { q, cache: *cache, shape, sinks, out };
                attention.compute((*isa, threads), (buffers, caches), batch, partials);
            }
            Op::GatedMul { gate, up, activation, out } => rows.gated_mul(*activation, gate, up, out),
            Op::Add { x, out } => rows.add(x, out),
            Op::Hadamard { x, block, out } => rows.hadamard(x, *block, out),
            Op::Permute { x, order, out } => rows.permute(x, order, out),
            Op::MoeRoute { logits, bias, routing, experts, weights } => {
                rows.moe_route(logits, bias.map(|id| vectors.get(id)), routing, experts, weights);
            }
            Op::MoeExperts { x, experts, weights, bank, shared, activation, rotation, out } => {
                let (shared, activation, rotation) = (*shared, *activation, *rotation);
                let op =
                    Experts { plan, vectors, x, experts, weights, bank, shared, activation, rotation, out };
                return op.compute(*isa, threads, products, buffers);
            }
            Op::Gather { x, out } => rows.gather(batch, x, out),
            Op::Sample { logits, out } => sample(threads, buffers, batch, logits, out),
        }
        Ok(())
    }
}
