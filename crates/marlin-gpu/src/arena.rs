//! Where activation buffers lie: back to back in one device buffer, for so many rows.
//!
//! ```text
//!  words  | x: capacity rows of its width | h: ... | ... | logits: output rows of its width |
//!         ^ each starts on a multiple of 64
//! ```

use marlin_kernel::plan::{BufferId, Plan, Rows, View};

/// Words to which a buffer's start is rounded up.
const ALIGN: u64 = 64;

/// Rows there is room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capacity {
    pub tokens: usize,
    pub outputs: usize,
}

impl Capacity {
    /// Room for a batch, growing in steps so that few batches need new memory.
    pub fn grown(self, tokens: usize, outputs: usize) -> Capacity {
        let grow =
            |held: usize, wanted: usize| if wanted <= held { held } else { wanted.next_power_of_two() };
        Capacity { tokens: grow(self.tokens, tokens), outputs: grow(self.outputs, outputs) }
    }

    fn rows(self, rows: Rows) -> usize {
        match rows {
            Rows::Tokens => self.tokens,
            Rows::Outputs => self.outputs,
        }
    }
}

/// The places of all buffers of a plan.
#[derive(Clone, Debug)]
pub(crate) struct Arena {
    starts: Vec<u64>,
    /// Words in all.
    pub words: u64,
}

/// A view as kernels see it, in words of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub base: u32,
    pub stride: u32,
    pub head_stride: u32,
}

impl Arena {
    pub fn new(plan: &Plan, capacity: Capacity) -> Arena {
        let mut words = 0;
        let mut place = |rows: usize, width: usize| {
            let start = words;
            words = (start + rows as u64 * width as u64).next_multiple_of(ALIGN);
            start
        };
        let starts =
            plan.buffers.iter().map(|buffer| place(capacity.rows(buffer.rows), buffer.width)).collect();
        Arena { starts, words }
    }

    /// First word of a buffer.
    pub fn start(&self, buffer: BufferId) -> u64 {
        self.starts[buffer.0 as usize]
    }

    /// Where a view of a buffer lies.
    pub fn place(&self, plan: &Plan, view: &View) -> Place {
        Place {
            base: (self.start(view.buffer) + view.start as u64) as u32,
            stride: plan.buffer(view.buffer).width as u32,
            head_stride: view.stride as u32,
        }
    }
}
