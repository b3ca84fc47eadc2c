//! A model as data: buffers, weights, caches, and the steps that connect them.
//!
//! A plan is built once for a model. The number of rows, the positions and the page tables are
//! values of each [`Batch`](crate::Batch). Steps name buffers, never memory.

use std::sync::Arc;

use marlin_format::Weight;

/// An activation buffer of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferId(pub u32);

/// A weight of a plan: a matrix in any format, or a vector as a matrix of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WeightId(pub u32);

/// A key/value cache of a plan, one per layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CacheId(pub u32);

/// How many rows a buffer has in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// One per token of the batch.
    Tokens,
    /// One per token whose logits are wanted.
    Outputs,
}

/// What the 32-bit words of a buffer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// IEEE single.
    F32,
    /// Unsigned integer: chosen experts, chosen tokens.
    U32,
}

/// An activation buffer `[rows, width]`, row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// What it holds, for messages and comparisons: `q`, `latent`.
    pub label: String,
    /// Its rows.
    pub rows: Rows,
    /// Words of a row.
    pub width: usize,
    /// Type of a word.
    pub word: Word,
}

/// Columns of a buffer: in each row, `heads` segments of `width` columns, `stride` apart.
///
/// ```text
///  row: |..start..|<-width->|.....|<-width->|.....|<-width->|.....|
///                 |<--- stride -->|                    heads = 3
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The buffer.
    pub buffer: BufferId,
    /// Column of the first segment.
    pub start: usize,
    /// Segments in a row.
    pub heads: usize,
    /// Columns from one segment to the next.
    pub stride: usize,
    /// Columns of a segment.
    pub width: usize,
}

impl View {
    /// One segment of `width` columns from `start`.
    pub fn columns(buffer: BufferId, start: usize, width: usize) -> View {
        View { buffer, start, heads: 1, stride: width, width }
    }

    /// The view cut into `heads` equal segments. Panics if it is not one segment or does not divide.
    pub fn split(self, heads: usize) -> View {
        assert!(self.heads == 1 && self.width.is_multiple_of(heads), "{self:?} cannot be cut into {heads}");
        let width = self.width / heads;
        View { heads, stride: width, width, ..self }
    }

    /// Columns `start..start + width` of every segment. Panics if they are outside.
    pub fn inner(self, start: usize, width: usize) -> View {
        assert!(start + width <= self.width, "{self:?} has no columns {start}..{}", start + width);
        View { start: self.start + start, width, ..self }
    }

    /// Columns that belong to the view in one row.
    pub fn len(&self) -> usize {
        self.heads * self.width
    }

    /// Whether the view has no columns.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the columns lie back to back.
    pub fn is_contiguous(&self) -> bool {
        self.heads == 1 || self.stride == self.width
    }

    /// First column after the last segment.
    pub fn end(&self) -> usize {
        self.start + (self.heads - 1) * self.stride + self.width
    }
}

/// One product of a [`Op::MatMul`] step: `out = W x + bias`, or `out += W x + bias`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Product {
    /// `[out.len(), x.len()]`.
    pub weight: WeightId,
    /// f32 `[1, out.len()]`.
    pub bias: Option<WeightId>,
    /// Where the result goes; contiguous.
    pub out: View,
    /// Whether the result is added to what `out` holds (the residual stream).
    pub accumulate: bool,
}

/// How rotary embedding pairs the dimensions of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeStyle {
    /// Pairs (2i, 2i + 1): GLM, and llama as GGUF stores it.
    Interleaved,
    /// Pairs (i, i + dim / 2): llama, qwen and gemma as Hugging Face stores them.
    Half,
}

/// How a gated feed-forward layer makes one value of gate and up: a function of the gate times up, unless
/// said otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// x * sigmoid(x).
    Silu,
    /// 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) (Hendrycks & Gimpel, arXiv 1606.08415).
    GeluTanh,
    /// `x sigmoid(1.702 x) (y + 1)` with `x = min(gate, limit)` and `y = up` held within `-limit..=limit`
    /// (gpt-oss; transformers, `modeling_gpt_oss.py`).
    ClampedSwiglu {
        /// Above 0.
        limit: f32,
    },
}

/// How a router turns logits into scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scoring {
    /// 1 / (1 + exp(-x)) each (DeepSeek-V3, arXiv 2412.19437).
    Sigmoid,
    /// Softmax over the experts.
    Softmax,
}

/// How experts are chosen from router scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Routing {
    /// Logits to scores.
    pub scoring: Scoring,
    /// Experts chosen for each token.
    pub top_k: usize,
    /// Groups the experts are divided into; 1 for none.
    pub groups: usize,
    /// Groups kept, by the sum of their two best scores (bias included); equal to `groups` for all.
    pub top_groups: usize,
    /// Whether the chosen scores are divided by their sum plus `denominator_eps`.
    pub normalize: bool,
    /// Added to the sum before dividing: 1e-20 in DeepSeek-V3's code, 0 in Qwen's.
    pub denominator_eps: f32,
    /// Multiplied into the weights at the end.
    pub scale: f32,
}

/// Attention over a cache, as data. Head h of the queries reads key/value head `h * kv_heads / heads`.
///
/// ```text
///  cache row of one token   | k head 0 | k head 1 | ... | v head 0 | v head 1 | ... |
///                           ^k_start, k_width each       ^v_start, v_width each
///  latent (MLA)             |         c (512)         | k_rope (64) |   kv_heads = 1
///                           ^k_start = v_start = 0, k_width 576, v_width 512
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Key/value heads in a cache row.
    pub kv_heads: usize,
    /// Column of the first key head.
    pub k_start: usize,
    /// Columns of a key head.
    pub k_width: usize,
    /// Column of the first value head.
    pub v_start: usize,
    /// Columns of a value head.
    pub v_width: usize,
    /// Multiplied into the scores.
    pub scale: f32,
    /// A token sees this many positions, itself included; `None` for all before it.
    pub window: Option<usize>,
}

/// What a step computes. Every kernel accumulates in f32 or better.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// `out[t] = scale * table[token[t]]`.
    Embed {
        /// `[vocabulary, out.len()]`.
        table: WeightId,
        /// Gemma multiplies by sqrt(hidden); others by 1.
        scale: f32,
        /// Where the rows go; contiguous.
        out: View,
    },
    /// Each segment `x * rsqrt(mean(x^2) + eps) * weight` (arXiv 1910.07467).
    RmsNorm {
        /// Segments to normalise; may equal `out`.
        x: View,
        /// f32 `[1, x.width]`.
        weight: WeightId,
        /// Added to the mean square.
        eps: f32,
        /// Same heads and width as `x`.
        out: View,
    },
    /// Products of one input with several weights.
    MatMul {
        /// Contiguous input.
        x: View,
        /// The products.
        products: Vec<Product>,
    },
    /// Per head `out[h] = W[h] x[h]`: a batched product.
    HeadMatMul {
        /// Heads of the input.
        x: View,
        /// `[heads * out.width, x.width]`: head h owns rows `h * out.width..(h + 1) * out.width`.
        weight: WeightId,
        /// Same heads as `x`.
        out: View,
    },
    /// Rotates every segment by its token's position (arXiv 2104.09864).
    Rope {
        /// Segments of an even width; may equal `out`.
        x: View,
        /// f32 `[1, x.width / 2]`: radians per position.
        frequencies: WeightId,
        /// Which dimensions pair up.
        style: RopeStyle,
        /// Multiplied into the result (YaRN's attention factor; 1 otherwise).
        scale: f32,
        /// Same heads and width as `x`.
        out: View,
    },
    /// Stores columns of each token's row in the cache, at the token's position.
    CacheWrite {
        /// What is stored.
        x: View,
        /// The cache.
        cache: CacheId,
        /// First column of the cache row.
        start: usize,
    },
    /// Causal softmax attention of each token over its sequence's cache rows.
    Attention {
        /// Query heads, `shape.k_width` wide.
        q: View,
        /// The cache.
        cache: CacheId,
        /// Where keys and values lie, scale, window.
        shape: AttentionShape,
        /// f32 `[1, q.heads]`: for each head a score that takes its share of the softmax and has no
        /// value (attention sinks, arXiv 2309.17453, learned as in gpt-oss).
        sinks: Option<WeightId>,
        /// As many heads as `q`, `shape.v_width` wide.
        out: View,
    },
    /// `out = activation(gate) * up`, or as the activation says.
    GatedMul {
        /// The gate.
        gate: View,
        /// The factor.
        up: View,
        /// The gate's function.
        activation: Activation,
        /// May equal `gate` or `up`.
        out: View,
    },
    /// `out += x`.
    Add {
        /// What is added.
        x: View,
        /// Where it is added.
        out: View,
    },
    /// `out = H x` in each block of `block` columns, H the normalised Walsh-Hadamard matrix.
    Hadamard {
        /// Segments of a multiple of `block` columns.
        x: View,
        /// Columns of a block: a power of two from 2 to 256.
        block: usize,
        /// Same heads and width as `x`.
        out: View,
    },
    /// `out[j] = x[order[j]]` in each segment.
    Permute {
        /// Segments of `order.len()` columns.
        x: View,
        /// For each column of the result, its column in `x`.
        order: Arc<[u32]>,
        /// Same heads and width as `x`.
        out: View,
    },
    /// Chooses experts from router logits; ties go to the lower expert.
    MoeRoute {
        /// Router logits, one column per expert; contiguous.
        logits: View,
        /// f32 `[1, experts]`: added to the scores for the choice only.
        bias: Option<WeightId>,
        /// How.
        routing: Routing,
        /// U32, `top_k` wide, best first; contiguous.
        experts: View,
        /// F32, `top_k` wide; contiguous.
        weights: View,
    },
    /// `out += sum_i weights[i] * down[e_i] R (activation(gate[e_i] x) * (up[e_i] x))`, and the same of the
    /// shared expert with weight 1, last; each product with its bias, if the experts have biases. R is what
    /// [`Op::Hadamard`] does, or nothing.
    MoeExperts {
        /// Contiguous input.
        x: View,
        /// U32 from [`Op::MoeRoute`].
        experts: View,
        /// F32 from [`Op::MoeRoute`].
        weights: View,
        /// One set of matrices per expert.
        bank: Vec<Expert>,
        /// An expert that every token uses, of the same sizes.
        shared: Option<Expert>,
        /// The gate's function.
        activation: Activation,
        /// Columns of the blocks in which what `down` multiplies is rotated: a power of two from 2 to 256.
        rotation: Option<usize>,
        /// Contiguous output.
        out: View,
    },
    /// Copies the rows whose logits are wanted: `out[i] = x[outputs[i]]`.
    Gather {
        /// Rows per token.
        x: View,
        /// Rows per output.
        out: View,
    },
    /// Chooses a token from each output's logits, as the batch's [`Choice`](crate::sample::Choice)
    /// says; plays nothing if the batch has none. A plan has one such step at most.
    Sample {
        /// A row per output, one column per token; contiguous.
        logits: View,
        /// U32, one column: the token. It outlives the batch: the next may name it as
        /// [`Batch::chosen`](crate::Batch::chosen).
        out: View,
    },
}

/// The three matrices of an expert, and their biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expert {
    /// `[intermediate, x.len()]`.
    pub gate: WeightId,
    /// `[intermediate, x.len()]`.
    pub up: WeightId,
    /// `[out.len(), intermediate]`.
    pub down: WeightId,
    /// What is added to the three products; all experts of a step have it or none.
    pub bias: Option<ExpertBias>,
}

/// The biases of an expert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpertBias {
    /// f32 `[1, intermediate]`.
    pub gate: WeightId,
    /// f32 `[1, intermediate]`.
    pub up: WeightId,
    /// f32 `[1, out.len()]`.
    pub down: WeightId,
}

/// One step: an operation and where in the model it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Place in the model: `layers.3.self_attn.q_proj`.
    pub label: String,
    /// What it computes.
    pub op: Op,
}

/// A key/value cache: one row of f32 or f16 values per token and layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Place in the model.
    pub label: String,
    /// Values of one token's row.
    pub width: usize,
}

/// A whole model.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Activation buffers.
    pub buffers: Vec<Buffer>,
    /// Weights with their place in the checkpoint.
    pub weights: Vec<(String, Weight)>,
    /// Caches.
    pub caches: Vec<Cache>,
    /// Steps in order.
    pub steps: Vec<Step>,
    /// `[outputs, vocabulary]` after the last step.
    pub logits: Option<BufferId>,
}

impl Plan {
    /// A buffer's description.
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }

    /// A weight.
    pub fn weight(&self, id: WeightId) -> &Weight {
        &self.weights[id.0 as usize].1
    }

    /// A cache's description.
    pub fn cache(&self, id: CacheId) -> &Cache {
        &self.caches[id.0 as usize]
    }

    /// Adds a buffer and returns a view of all its columns.
    pub fn add_buffer(&mut self, label: &str, rows: Rows, width: usize, word: Word) -> View {
        let id = BufferId(self.buffers.len() as u32);
        self.buffers.push(Buffer { label: label.to_owned(), rows, width, word });
        View::columns(id, 0, width)
    }

    /// Adds a weight under its place in the checkpoint.
    pub fn add_weight(&mut self, label: &str, weight: Weight) -> WeightId {
        self.weights.push((label.to_owned(), weight));
        WeightId(self.weights.len() as u32 - 1)
    }

    /// Adds a cache.
    pub fn add_cache(&mut self, label: &str, width: usize) -> CacheId {
        self.caches.push(Cache { label: label.to_owned(), width });
        CacheId(self.caches.len() as u32 - 1)
    }

    /// Adds a step.
    pub fn add_step(&mut self, label: &str, op: Op) {
        self.steps.push(Step { label: label.to_owned(), op });
    }

    /// Adds a buffer for the chosen tokens and the step that fills it.
    pub fn add_sampling(&mut self, label: &str, logits: View) {
        let out = self.add_buffer("chosen", Rows::Outputs, 1, Word::U32);
        self.add_step(label, Op::Sample { logits, out });
    }

    /// The logits and the chosen tokens of the sampling step; `None` for a plan that does not sample.
    pub fn sampling(&self) -> Option<(View, View)> {
        self.steps.iter().find_map(|step| match step.op {
            Op::Sample { logits, out } => Some((logits, out)),
            _ => None,
        })
    }

    /// Tokens that can be played: rows of the smallest embedding table; `usize::MAX` without one.
    pub fn vocabulary(&self) -> usize {
        let tables = self.steps.iter().filter_map(|step| match step.op {
            Op::Embed { table, .. } => Some(self.weight(table).rows()),
            _ => None,
        });
        tables.min().unwrap_or(usize::MAX)
    }

    /// Columns of the logits; 0 for a plan without.
    pub fn vocab_size(&self) -> usize {
        self.logits.map_or(0, |id| self.buffer(id).width)
    }
}
