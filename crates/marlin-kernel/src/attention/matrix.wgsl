// Attention on cooperative matrices: f16 operands, f32 scores, softmax and accumulators.
//
// For subgroups of 32, an f16 cache, and heads of exactly K_WIDTH and V_WIDTH columns whose starts and row
// stride are multiples of 4. Step, grid and scratch: attention/tile. Slot `matrices`: attention/matrix16 or
// attention/matrix8. Constants and the bytes of workgroup memory that they cost:
//
//   for                   PAIRS  POSITIONS  K_WIDTH  V_WIDTH  LATENT   bytes
//   latent 576/512           32         16      576      512       1   31168
//   latent, 48 KiB           32         32      576      512       1   48832
//   decode                   16         32      128      128       0   28288
//   prefill                  32         32      128      128       0   29888
//   prefill                  64         32      128      128       0   32576
//   decode                   16         32       64       64       0   20096
//   prefill                  64         32       64       64       0   24384
//   (LATENT: the values are the first columns of the keys)
//
//   a round: POSITIONS cache rows in workgroup memory as f16; the next round's are on their way in registers
//     scores [PAIRS x POSITIONS]: a subgroup has one block of 16 x 16 and 1 / SLICES of the key's columns;
//       subgroup = (pair block * POSITIONS / 16 + position block) * SLICES + slice; queries stay in registers
//     softmax: 256 / PAIRS threads a pair; adds the slices, stores the weights as f16
//     values [PAIRS x V_WIDTH]: a subgroup owns P_BLOCKS x V_BLOCKS blocks of 16 x 16 in registers
//
// A pair's weights are e^(score - reference). The reference follows the largest score only when that is LAG
// above it, so that weights stay below e^LAG (f16 holds it) and accumulators are seldom rescaled: for that
// they go through workgroup memory, since a cooperative matrix cannot be scaled row by row.
//
// Reads a tile's cache rows once for PAIRS pairs; 2 (K_WIDTH + V_WIDTH) operations a pair and position.
//#import attention/tile
//#import matrices
//#import attention/registers
//#import attention/accumulators
//#import attention/softmax
@group(0) @binding(6) var<storage, read_write> cache: array<vec4<f16>>;

const LAG: f32 = 5.0;
const SUBGROUPS: u32 = 8u;
// Tiles along the side of a block of 16.
const SIDE: u32 = 16u / TILE;
const SLICES: u32 = SUBGROUPS * 256u / (PAIRS * POSITIONS);
// Blocks of 16 columns of a slice.
const STEPS: u32 = K_WIDTH / SLICES / 16u;
// Blocks of a subgroup's accumulators: as many pairs as fit, so that a value is loaded for all of them.
const V_OWN: u32 = max(PAIRS * V_WIDTH / 256u / SUBGROUPS, 1u);
const P_BLOCKS: u32 = min(PAIRS / 16u, V_OWN);
const V_BLOCKS: u32 = V_OWN / P_BLOCKS;
// Row strides in workgroup memory, longer than a row for the banks.
const KEY: u32 = K_WIDTH + 8u;
const VALUE: u32 = select(V_WIDTH + 8u, KEY, LATENT == 1u);
const VALUES_AT: u32 = select(POSITIONS * KEY, 0u, LATENT == 1u);
const STAGE: u32 = VALUES_AT + POSITIONS * max(VALUE, KEY);
const WEIGHT: u32 = POSITIONS + 8u;
const SCORE: u32 = POSITIONS + select(select(2u, 4u, PAIRS < 64u), 0u, STAGE > 16384u);
// Threads that load one cache row, side by side; more would not divide all widths, fewer had bank conflicts.
const ROW_THREADS: u32 = 16u;
// Rows that each of them loads, 16 apart, and how many words of four values it takes of each.
const ROWS_OWN: u32 = POSITIONS / 16u;
const K_LOADS: u32 = K_WIDTH / 4u / ROW_THREADS;
const ROW_LOADS: u32 = K_LOADS + select(V_WIDTH / 4u / ROW_THREADS, 0u, LATENT == 1u);
const LOADS: u32 = ROWS_OWN * ROW_LOADS;
const QUERY_LOADS: u32 = ROWS_OWN * K_LOADS;
// Queries go through the keys' place in workgroup memory, POSITIONS pairs at a time.
const CHUNKS: u32 = (PAIRS + POSITIONS - 1u) / POSITIONS;
// Threads that share a pair in the softmax.
const LANES: u32 = 256u / PAIRS;

// What a subgroup works on.
struct Place {
    lane: u32,
    // Its block of scores: first pair, first position, first column; first row in `scores`.
    pair: u32,
    position: u32,
    slice: u32,
    part: u32,
    // Its accumulators: first pair, first column; the column past V_WIDTH if it repeats another's.
    first_pair: u32,
    first_col: u32,
    owned_col: u32,
    // Its words of `scores` when those are free.
    scratch: u32,
}

var<workgroup> tile: Tile;
var<workgroup> pairs: array<Pair, PAIRS>;

fn place_of(subgroup: u32, lane: u32) -> Place {
    let pair = subgroup / SLICES / (POSITIONS / 16u) * 16u;
    let position = subgroup / SLICES % (POSITIONS / 16u) * 16u;
    let slice = subgroup % SLICES;
    let groups = PAIRS / 16u / P_BLOCKS;
    let col = subgroup / groups * V_BLOCKS * 16u;
    return Place(
        lane, pair, position, slice * STEPS * 16u, slice * PAIRS + pair,
        subgroup % groups * P_BLOCKS * 16u, min(col, V_WIDTH - V_BLOCKS * 16u), col, subgroup * 256u,
    );
}

// The positions that this thread loads of the round that begins at `begin`. Past the last position it is the
// last: what it scores is masked, and what it holds is finite.
fn positions_of(begin: u32, thread: u32) -> vec2<u32> {
    let first = begin + thread / ROW_THREADS;
    return min(vec2(first, first + 16u), vec2(tile.end - 1u));
}

fn pages_of(position: vec2<u32>) -> vec2<u32> {
    let page = position / batch[3];
    return vec2(batch[tile.pages + page.x], batch[tile.pages + page.y]);
}

// First words of the cache rows of positions in pages.
fn rows_of(page: vec2<u32>, position: vec2<u32>) -> vec2<u32> {
    return (page * batch[3] + position % batch[3]) * (step.cache_stride / 4u);
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let thread = subgroup * 32u + lane;
    // In workgroup memory, so that control flow that hangs on it counts as uniform.
    if thread == 0u {
        tile = find_tile(workgroup.x, PAIRS, POSITIONS, workgroup.z, workgroups.z);
    }
    workgroupBarrier();
    if tile.rows == 0u {
        return;
    }
    if thread < PAIRS {
        pairs[thread] = find_pair(tile, workgroup.y, thread);
    }
    workgroupBarrier();
    let own = pairs[thread / LANES];
    let output = output_of(workgroup, workgroups, workgroup.y, PAIRS);
    if tile.begin >= tile.end {
        if thread % LANES == 0u {
            store_sum(output, thread / LANES, PAIRS, LOWEST, 0.0);
        }
        return;
    }

    var position = positions_of(tile.begin, thread);
    var page = pages_of(position);
    let key = (step.k_start + workgroup.y * K_WIDTH) / 4u + thread % ROW_THREADS;
    let value = (step.v_start + workgroup.y * V_WIDTH) / 4u + thread % ROW_THREADS - K_LOADS * ROW_THREADS;
    fetch_all(rows_of(page, position), key, value);
    position = positions_of(tile.begin + POSITIONS, thread);
    page = pages_of(position);

    let place = place_of(subgroup, lane);
    ask_all(thread);
    take_chunk(0u, place, thread);
    if CHUNKS > 1u { take_chunk(1u, place, thread); }
    workgroupBarrier();

    var largest = LOWEST;
    var sum = 0.0;
    for (var begin = tile.begin; begin < tile.end; begin += POSITIONS) {
        stage_all(thread);
        workgroupBarrier();
        fetch_all(rows_of(page, position), key, value);
        position = positions_of(begin + 2u * POSITIONS, thread);
        page = pages_of(position);
        score_all(place);
        workgroupBarrier();
        softmax(own, begin, tile.end, thread, &largest, &sum);
        workgroupBarrier();
        if must_rescale() {
            rescale_all(place);
        }
        add_all(place);
        workgroupBarrier();
    }

    for (var i = 1u; i < LANES; i *= 2u) {
        sum += subgroupShuffleXor(sum, i);
    }
    if thread % LANES == 0u {
        factors[thread / LANES] = with_sink(own.head, largest, sum);
        store_sum(output, thread / LANES, PAIRS, largest, sum);
    }
    if workgroups.z > 1u {
        park_all(place, output);
    } else {
        store_all(place, output);
    }
}
