// Sorts the pairs of many rows by expert and cuts each expert's into tiles, on the device.
//
// grid: x = experts, the shared one included; 256 threads. Each workgroup counts all pairs (few words, and
// the same for all), so that it knows where its own stand, then lists its own in their order.
//
//   pairs     | 0: e5 | 1: e2 | 2: e5 | 3: e0 | ...          sorted   | 3 | 1 | 0 | 2 | ...
//
// Slots: none. At most 1024 experts. Moves every choice once for each expert: from the cache.

//#import moe_experts/expert
//#import moe_experts/lists
@group(0) @binding(7) var<storage, read_write> scratch: array<u32>;

const MOST: u32 = 1024u;
var<workgroup> counts: array<atomic<u32>, MOST>;
var<workgroup> totals: array<vec2<u32>, 64>;
var<workgroup> mine: array<u32, 64>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let rows = batch[step.rows_of];
    let own = group.x;
    let pairs = rows * step.slots;
    for (var e = local; e < step.count; e += 256u) {
        atomicStore(&counts[e], 0u);
    }
    workgroupBarrier();
    for (var pair = local; pair < pairs; pair += 256u) {
        let expert = expert_of(pair / step.slots, pair % step.slots);
        if expert < step.count {
            atomicAdd(&counts[expert], 1u);
        }
    }
    workgroupBarrier();
    // Pairs and tiles of the experts before this one.
    var before = vec2<u32>(0u);
    for (var e = local; e < own; e += 256u) {
        let count = atomicLoad(&counts[e]);
        before += vec2<u32>(count, (count + TILE_ROWS - 1u) / TILE_ROWS);
    }
    let part = vec2<u32>(subgroupAdd(before.x), subgroupAdd(before.y));
    if lane == 0u {
        totals[subgroup] = part;
    }
    workgroupBarrier();
    before = vec2<u32>(0u);
    for (var i = 0u; i < subgroups; i += 1u) {
        before += totals[i];
    }
    let count = atomicLoad(&counts[own]);
    let tiles = (count + TILE_ROWS - 1u) / TILE_ROWS;
    for (var tile = local; tile < tiles; tile += 256u) {
        let at = tiles_at(rows) + 4u * (before.y + tile);
        scratch[at] = own;
        scratch[at + 1u] = before.x + tile * TILE_ROWS;
        scratch[at + 2u] = min(TILE_ROWS, count - tile * TILE_ROWS);
    }
    if own == step.count - 1u && local == 0u {
        scratch[0] = before.y + tiles;
    }
    var place = 4u + before.x;
    for (var start = 0u; start < pairs; start += 256u) {
        let pair = start + local;
        var is_own = false;
        if pair < pairs {
            is_own = expert_of(pair / step.slots, pair % step.slots) == own;
        }
        let one = select(0u, 1u, is_own);
        let rank = subgroupExclusiveAdd(one);
        let sum = subgroupAdd(one);
        if lane == 0u {
            mine[subgroup] = sum;
        }
        workgroupBarrier();
        var offset = 0u;
        var all = 0u;
        for (var i = 0u; i < subgroups; i += 1u) {
            offset += select(0u, mine[i], i < subgroup);
            all += mine[i];
        }
        if is_own {
            scratch[place + offset + rank] = pair;
        }
        place += all;
        workgroupBarrier();
    }
}
