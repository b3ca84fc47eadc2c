// embed: out = scale * row `token` of the table, for the tokens whose rows this piece of the table has.
//
// grid: x = token rows, y = ceil(columns / 2048). A thread decodes eight columns.
// Moves one row of the table and of out for each token.
//#import arena
//#import weights

struct Step {
    // First block and first scale of the piece in its slab; its first row and its rows.
    codes: u32,
    scales: u32,
    first: u32,
    rows: u32,
    // Columns, blocks and scales of a row, log2(columns of a scale / 16).
    cols: u32,
    blocks: u32,
    groups: u32,
    shift: u32,
    out: u32,
    out_stride: u32,
    // Factor of the plan times factor of the whole table.
    scale: f32,
    // Arena word of the tokens that this device chose itself, one for each output of the batch before,
    // and words from one to the next.
    chosen: u32,
    chosen_stride: u32,
    // Rows of the whole table.
    table_rows: u32,
}
@group(0) @binding(0) var<uniform> step: Step;

// Set in a token that stands for one this device chose.
const CHOSEN: u32 = 0x80000000u;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    load_codebook(local);
    let row = group.x;
    let eight = group.y * 256u + local;
    if row >= batch[0] || eight >= step.blocks * 4u {
        return;
    }
    var token = batch[batch[4] + row];
    if (token & CHOSEN) != 0u {
        token = bitcast<u32>(arena[step.chosen + (token & ~CHOSEN) * step.chosen_stride]);
        // Unusable logits choose no token: row 0 does, its result is thrown away.
        token = select(0u, token, token < step.table_rows);
    }
    if token < step.first || token - step.first >= step.rows {
        return;
    }
    let block = eight / 4u;
    let c = load_codes(step.codes + (token - step.first) * step.blocks + block);
    let s = load_scales(step.scales + (token - step.first) * step.groups, block, step.shift);
    let values = weights8(c, s, eight & 3u);
    let out = step.out + row * step.out_stride + 8u * eight;
    for (var i = 0u; i < 4u && 8u * eight + i < step.cols; i += 1u) {
        arena[out + i] = step.scale * values.low[i];
    }
    for (var i = 4u; i < 8u && 8u * eight + i < step.cols; i += 1u) {
        arena[out + i] = step.scale * values.high[i - 4u];
    }
}
