// Where `moe_sort` leaves its lists, and what follows them in `scratch`. Words:
//
//   0         tiles there are
//   4         the pairs, sorted by expert, those of an expert in their order     pairs words
//   tiles_at  expert, place of the first pair among the sorted, pairs            4 words a tile
//   hidden_at activation(gate x) * (up x) of each pair, `inner_blocks` * 32     pairs * that (twice if SPLIT)
//   result_at down's result of each pair, `outs` words                           pairs * outs
//
// Pairs after hidden_at and result_at stand in their own order (row * slots + slot), not in the sorted one.

// Rows of a tile of pairs.
const TILE_ROWS: u32 = 64u;

// The most tiles there can be: the grid of the shaders that work on tiles.
fn most_tiles(rows: u32) -> u32 {
    return rows * step.slots / TILE_ROWS + min(step.count, rows * step.slots);
}

fn tiles_at(rows: u32) -> u32 {
    return 4u + (rows * step.slots + 3u) / 4u * 4u;
}

fn hidden_at(rows: u32) -> u32 {
    return tiles_at(rows) + 4u * most_tiles(rows);
}

// `halves`: words that hidden takes for each pair.
fn result_at(rows: u32, words: u32) -> u32 {
    return hidden_at(rows) + rows * step.slots * words;
}
