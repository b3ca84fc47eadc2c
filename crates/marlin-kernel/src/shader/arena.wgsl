// The bindings that every kernel shares, and the rows of a batch.
//
// batch: [0] token rows, [1] output rows, [2] sequences, [3] page size, then word indices of:
//        [4] tokens, [5] positions, [6] slots (cache row of each token), [7] output rows,
//        [8] sequence of each token row, [9] sequences (first row, rows, page table, first position),
//        [10] choices for sampling.
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> vectors: array<f32>;
@group(0) @binding(3) var<storage, read> batch: array<u32>;
