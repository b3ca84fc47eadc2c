// What the shaders of the experts share: their uniform, and how choices and places of experts are read.
//
// A pair is a row and one of its `slots`: pair = row * slots + slot. Slots below `top_k` are the chosen
// experts; the one after them, if there is one, is the shared expert with weight 1. An expert's place is a
// record of 13 words in `tables`:
//
//   | first block of codes: gate, up, down | first scale: gate, up, down | tensor scales: gate, up, down |
//   | matrices of this dispatch: 1 gate, 2 up, 4 down | biases in `vectors`: gate, up, down |
//
// The matrices a dispatch reads have one format and one slab. Others are played by dispatches of their own,
// with the same lists and other records.

//#import arena
@group(0) @binding(8) var<storage, read> tables: array<u32>;

struct Step {
    rows_of: u32,
    slots: u32,
    top_k: u32,
    // Records: the experts of the bank, then the shared one.
    count: u32,
    x: u32,
    x_stride: u32,
    experts: u32,
    experts_stride: u32,
    weights: u32,
    weights_stride: u32,
    out: u32,
    out_stride: u32,
    // First word of the records; the activation, as in gated_mul/activation.
    table: u32,
    activation: u32,
    // Columns of gate and up, their blocks of 32 columns, scales of a row, log2(columns of a scale / 16).
    cols: u32,
    blocks: u32,
    groups: u32,
    shift: u32,
    // The same of down, whose columns are the rows of gate and up; and its rows.
    inner: u32,
    inner_blocks: u32,
    inner_groups: u32,
    inner_shift: u32,
    outs: u32,
    // Of the activation.
    limit: f32,
    // Whether there are biases; columns of the blocks that are rotated before down.
    biased: u32,
    rotation: u32,
}
@group(0) @binding(0) var<uniform> step: Step;

const RECORD: u32 = 13u;
const GATE: u32 = 0u;
const UP: u32 = 1u;
const DOWN: u32 = 2u;

// The expert of a pair; `step.count` or more if the list is broken.
fn expert_of(row: u32, slot: u32) -> u32 {
    if slot >= step.top_k {
        return step.count - 1u;
    }
    return bitcast<u32>(arena[step.experts + row * step.experts_stride + slot]);
}

fn weight_of(row: u32, slot: u32) -> f32 {
    if slot >= step.top_k {
        return 1.0;
    }
    return arena[step.weights + row * step.weights_stride + slot];
}

fn codes_of(expert: u32, matrix: u32) -> u32 {
    return tables[step.table + expert * RECORD + matrix];
}

fn scales_of(expert: u32, matrix: u32) -> u32 {
    return tables[step.table + expert * RECORD + 3u + matrix];
}

fn tensor_scale_of(expert: u32, matrix: u32) -> f32 {
    return bitcast<f32>(tables[step.table + expert * RECORD + 6u + matrix]);
}

// What is added to output `out` of a product.
fn bias_of(expert: u32, matrix: u32, out: u32) -> f32 {
    if step.biased == 0u {
        return 0.0;
    }
    return vectors[tables[step.table + expert * RECORD + 10u + matrix] + out];
}

// Whether this dispatch reads the matrix.
fn is_here(expert: u32, matrix: u32) -> bool {
    return expert < step.count && (tables[step.table + expert * RECORD + 9u] & (1u << matrix)) != 0u;
}
