//! Matrix products: loads activations, cuts weight rows into tasks, puts results where they belong.

use marlin_format::Weight;
use marlin_kernel::{
    matmul::simd::{Product, for_pick},
    plan::{self, Plan, View, WeightId},
    simd::{Activation, Forms, Isa},
};

use crate::{
    buffers::{Buffers, segment, segment_mut},
    player::Vectors,
    threads::Threads,
};

/// Multiplications a task should have at least: some microseconds.
const WORTH_A_TASK: usize = 1 << 16;
/// Tasks for each thread, so that the last ones to end end together.
const TASKS_A_THREAD: usize = 6;

/// A weight to be multiplied with some of the activations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// The weight.
    pub weight: &'a Weight,
    /// First and last plus one of the rows wanted of it.
    pub rows: (usize, usize),
    /// Which activations.
    pub picks: &'a [u32],
}

impl Request<'_> {
    /// Rows wanted.
    pub(crate) fn len(&self) -> usize {
        self.rows.1 - self.rows.0
    }

    /// Results of the request.
    fn results(&self) -> usize {
        self.len() * self.picks.len()
    }
}

/// Computes products, and keeps the memory for it.
#[derive(Debug)]
pub(crate) struct Products {
    isa: Isa,
    int8: bool,
    activations: Vec<Activation>,
    results: Vec<f32>,
    starts: Vec<usize>,
}

impl Products {
    /// With the instructions of `isa`, quantized weights times int8 or f32 activations.
    pub(crate) fn new(isa: Isa, int8: bool) -> Products {
        Products { isa, int8, activations: Vec::new(), results: Vec::new(), starts: Vec::new() }
    }

    /// The form of activations that all of `weights` can read.
    pub(crate) fn forms<'a>(&self, weights: impl Iterator<Item = &'a Weight>) -> Forms {
        weights.fold(Forms::default(), |forms, weight| {
            let more = Product::forms(weight, self.int8);
            Forms { f32: forms.f32 || more.f32, int8: forms.int8 || more.int8 }
        })
    }

    /// Loads `count` activations of `cols` columns; `row` calls its second argument with one of them.
    pub(crate) fn load(
        &mut self,
        threads: &Threads,
        (count, cols): (usize, usize),
        forms: Forms,
        row: impl Fn(usize, &mut dyn FnMut(&[f32])) + Sync,
    ) {
        if self.activations.len() < count {
            self.activations.resize_with(count, Activation::default);
        }
        let isa = self.isa;
        threads.each_item(&mut self.activations[..count], cols, |at, activation| {
            row(at, &mut |values| activation.load(isa, values, forms));
        });
    }

    /// Computes all requests with the activations loaded last; [`Products::result`] reads them.
    pub(crate) fn compute(&mut self, threads: &Threads, requests: &[Request<'_>]) {
        self.starts.clear();
        let mut total = 0;
        for request in requests {
            self.starts.push(total);
            total += request.results();
        }
        self.results.resize(total, 0.0);
        let (isa, int8, x) = (self.isa, self.int8, &self.activations[..]);
        let work: usize = requests.iter().map(|request| request.results() * request.weight.cols()).sum();
        let worth = (work / (TASKS_A_THREAD * threads.count())).max(WORTH_A_TASK);
        let mut tasks = Vec::new();
        let mut rest = &mut self.results[..];
        for request in requests {
            let row_work = (request.picks.len() * request.weight.cols()).max(1);
            let step = (worth / row_work).next_multiple_of(4).max(4);
            for start in (request.rows.0..request.rows.1).step_by(step) {
                let rows = start..request.rows.1.min(start + step);
                let (out, after) = rest.split_at_mut(rows.len() * request.picks.len());
                rest = after;
                let product = Product { weight: request.weight, rows, x, picks: request.picks, int8 };
                tasks.push((product, out));
            }
        }
        threads.each(tasks, |(product, out), scratch| product.compute(isa, &mut scratch.weights, out));
    }

    /// Calls `each` with the results of request `at` of `requests` for its activation `picks[pick]` in
    /// pieces: index of the first row, values.
    pub(crate) fn result(
        &self,
        requests: &[Request<'_>],
        at: usize,
        pick: usize,
        each: impl FnMut(usize, &[f32]),
    ) {
        let request = &requests[at];
        let results = &self.results[self.starts[at]..][..request.results()];
        for_pick(results, request.len(), request.picks.len(), pick, each);
    }

    /// [`plan::Op::MatMul`].
    pub(crate) fn matmul(
        &mut self,
        threads: &Threads,
        (plan, vectors): (&Plan, &Vectors),
        buffers: &mut Buffers,
        x: &View,
        products: &[plan::Product],
    ) {
        let count = buffers.rows(x.buffer);
        let forms = self.forms(products.iter().map(|product| plan.weight(product.weight)));
        self.load(threads, (count, x.len()), forms, |row, load| load(buffers.columns(x, row)));
        let picks: Vec<u32> = (0..count as u32).collect();
        let request = |product: &plan::Product| {
            let weight = plan.weight(product.weight);
            Request { weight, rows: (0, weight.rows()), picks: &picks }
        };
        let requests: Vec<_> = products.iter().map(request).collect();
        self.compute(threads, &requests);
        for (at, product) in products.iter().enumerate() {
            let bias = product.bias.map(|bias| vectors.get(bias));
            buffers.update(threads, product.out.buffer, [], |row, [], out| {
                let out = &mut out[product.out.start..][..product.out.len()];
                self.result(&requests, at, row, |start, values| {
                    put(&mut out[start..][..values.len()], values, product.accumulate);
                });
                if let Some(bias) = bias {
                    put(out, bias, true);
                }
            });
        }
    }

    /// [`plan::Op::HeadMatMul`].
    pub(crate) fn head_matmul(
        &mut self,
        threads: &Threads,
        plan: &Plan,
        buffers: &mut Buffers,
        (x, weight, out): (&View, WeightId, &View),
    ) {
        let (rows, heads, weight) = (buffers.rows(x.buffer), x.heads, plan.weight(weight));
        let forms = self.forms(std::iter::once(weight));
        // Activation `head * rows + row`, so that the activations of a head are neighbours.
        self.load(threads, (rows * heads, x.width), forms, |at, load| {
            load(segment(buffers.row(x.buffer, at % rows), x, at / rows));
        });
        let picks: Vec<u32> = (0..(rows * heads) as u32).collect();
        let request = |head: usize| Request {
            weight,
            rows: (head * out.width, (head + 1) * out.width),
            picks: &picks[head * rows..][..rows],
        };
        let requests: Vec<_> = (0..heads).map(request).collect();
        self.compute(threads, &requests);
        buffers.update(threads, out.buffer, [], |row, [], out_row| {
            for head in 0..heads {
                let out = segment_mut(out_row, out, head);
                self.result(&requests, head, row, |start, values| {
                    out[start..][..values.len()].copy_from_slice(values);
                });
            }
        });
    }
}

/// Stores or adds values.
pub(crate) fn put(out: &mut [f32], values: &[f32], add: bool) {
    for (out, value) in out.iter_mut().zip(values) {
        *out = if add { *out + value } else { *value };
    }
}
