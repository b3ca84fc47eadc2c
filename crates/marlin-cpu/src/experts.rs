//! The chosen experts: tokens sorted by expert, two rounds of products, a sum in the order of choice.

use marlin_kernel::{
    Error,
    gated_mul::simd::gated_mul,
    hadamard::transform,
    plan::{Activation, Expert, Plan, View},
    simd::Isa,
};

use crate::{
    buffers::{Buffers, segment_mut},
    player::Vectors,
    products::{Products, Request, put},
    threads::Threads,
};

/// [`marlin_kernel::plan::Op::MoeExperts`] as data.
pub(crate) struct Experts<'a> {
    pub plan: &'a Plan,
    pub vectors: &'a Vectors,
    pub x: &'a View,
    pub experts: &'a View,
    pub weights: &'a View,
    pub bank: &'a [Expert],
    pub shared: Option<Expert>,
    pub activation: Activation,
    pub rotation: Option<usize>,
    pub out: &'a View,
}

/// Choices (`row * slots + slot`) sorted by expert. The shared expert, if there is one, is the last,
/// and each row's last choice.
struct Sorted {
    /// Experts someone chose, ascending, each with the range of its choices.
    groups: Vec<(usize, std::ops::Range<usize>)>,
    /// For each place in the sorted order, the row of the choice.
    rows: Vec<u32>,
    /// For each choice, its group and its place among the group's choices.
    places: Vec<(usize, usize)>,
}

impl Experts<'_> {
    /// Computes the experts and adds their weighted sum to `out`.
    pub(crate) fn compute(
        &self,
        isa: Isa,
        threads: &Threads,
        products: &mut Products,
        buffers: &mut Buffers,
    ) -> Result<(), Error> {
        let sorted = self.sort(buffers)?;
        self.hidden(isa, threads, products, buffers, &sorted);
        let places: Vec<u32> = (0..sorted.rows.len() as u32).collect();
        let request = |(expert, range): &(usize, std::ops::Range<usize>)| {
            let weight = self.plan.weight(self.expert(*expert).down);
            Request { weight, rows: (0, weight.rows()), picks: &places[range.clone()] }
        };
        let requests: Vec<_> = sorted.groups.iter().map(request).collect();
        products.compute(threads, &requests);
        let (top_k, slots) = (self.experts.len(), self.slots());
        buffers.update(threads, self.out.buffer, [self.weights.buffer], |row, [weights], out_row| {
            let out = segment_mut(out_row, self.out, 0);
            for slot in 0..slots {
                let factor = if slot < top_k { weights[self.weights.start + slot] } else { 1.0 };
                let (group, place) = sorted.places[row * slots + slot];
                let mut add = |start: usize, values: &[f32]| {
                    for (out, value) in out[start..].iter_mut().zip(values) {
                        *out += factor * value;
                    }
                };
                products.result(&requests, group, place, &mut add);
                if let Some(bias) = self.expert(sorted.groups[group].0).bias {
                    add(0, self.vectors.get(bias.down));
                }
            }
        });
        Ok(())
    }

    /// Choices of a row.
    fn slots(&self) -> usize {
        self.experts.len() + usize::from(self.shared.is_some())
    }

    /// The expert of a group.
    fn expert(&self, at: usize) -> Expert {
        self.bank.get(at).copied().or(self.shared).expect("choices were checked when sorted")
    }

    /// Loads, as activations, what each choice feeds to its expert's down matrix.
    fn hidden(
        &self,
        isa: Isa,
        threads: &Threads,
        products: &mut Products,
        buffers: &Buffers,
        sorted: &Sorted,
    ) {
        let matrices = |expert: usize| {
            let Expert { gate, up, down, .. } = self.expert(expert);
            [gate, up, down].map(|id| self.plan.weight(id))
        };
        let experts = || sorted.groups.iter().map(|(expert, _)| *expert);
        let (x, rows) = (self.x, buffers.rows(self.x.buffer));
        let forms = products.forms(experts().flat_map(|expert| matrices(expert).into_iter().take(2)));
        products.load(threads, (rows, x.len()), forms, |row, load| load(buffers.columns(x, row)));
        let mut requests = Vec::new();
        for (expert, range) in &sorted.groups {
            let [gate, up, _] = matrices(*expert);
            let picks = &sorted.rows[range.clone()];
            requests.extend([gate, up].map(|weight| Request { weight, rows: (0, weight.rows()), picks }));
        }
        products.compute(threads, &requests);
        let width = requests.first().map_or(0, Request::len);
        let forms = products.forms(experts().map(|expert| matrices(expert)[2]));
        let mut hidden = vec![0.0; sorted.rows.len() * width];
        threads.each_row(&mut hidden, width, |place, hidden| {
            let group = sorted.groups.partition_point(|(_, range)| range.end <= place);
            let pick = place - sorted.groups[group].1.start;
            let mut halves = vec![0.0; 2 * width];
            let (gate, up) = halves.split_at_mut(width);
            products.result(&requests, 2 * group, pick, |start, values| {
                gate[start..][..values.len()].copy_from_slice(values);
            });
            products.result(&requests, 2 * group + 1, pick, |start, values| {
                up[start..][..values.len()].copy_from_slice(values);
            });
            if let Some(bias) = self.expert(sorted.groups[group].0).bias {
                put(gate, self.vectors.get(bias.gate), true);
                put(up, self.vectors.get(bias.up), true);
            }
            gated_mul(isa, self.activation, gate, up, hidden);
            if let Some(block) = self.rotation {
                transform(hidden, block, 1);
            }
        });
        products.load(threads, (sorted.rows.len(), width), forms, |place, load| {
            load(&hidden[place * width..][..width]);
        });
    }

    fn sort(&self, buffers: &Buffers) -> Result<Sorted, Error> {
        let slots = self.slots();
        let rows = buffers.rows(self.x.buffer);
        let mut lists: Vec<Vec<usize>> = vec![Vec::new(); self.bank.len()];
        for row in 0..rows {
            for (slot, word) in buffers.columns(self.experts, row).iter().enumerate() {
                let expert = word.to_bits() as usize;
                let list = lists.get_mut(expert).ok_or_else(|| Error::Device {
                    device: "cpu".to_owned(),
                    reason: format!("row {row} chooses expert {expert}, there are {}", self.bank.len()),
                })?;
                list.push(row * slots + slot);
            }
        }
        if self.shared.is_some() {
            lists.push((0..rows).map(|row| (row + 1) * slots - 1).collect());
        }
        let mut sorted = Sorted { groups: Vec::new(), rows: Vec::new(), places: vec![(0, 0); rows * slots] };
        for (expert, list) in lists.into_iter().enumerate().filter(|(_, list)| !list.is_empty()) {
            for (place, choice) in list.iter().enumerate() {
                sorted.places[*choice] = (sorted.groups.len(), place);
            }
            let start = sorted.rows.len();
            sorted.rows.extend(list.iter().map(|choice| (choice / slots) as u32));
            sorted.groups.push((expert, start..sorted.rows.len()));
        }
        Ok(sorted)
    }
}
