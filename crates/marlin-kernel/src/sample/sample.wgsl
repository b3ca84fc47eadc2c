// Chooses the token of each output: largest logit, or top-k, top-p, min-p and the token at a share of what
// they keep, in token order. Rows with a NaN or +inf, or with nothing above -inf, choose NONE.
//
// grid: x = outputs; 256 threads. At most 2^20 tokens. Scratch: 3 * outputs * vocabulary words, penalties or
// not (`sample_penalties` takes the first third), none if all choices are greedy without penalties.
//
//   greedy            1 pass over the row
//   no top-k, top-p   2: largest, weights
//   top-k to 256      2: largest, list of what can be kept; the rest on the list
//   top-p             3: largest, weights, list; the rest on the list
//
// Sums are f32: a share within 1e-5 of a boundary between tokens may fall to either.

//#import sample/find

var<workgroup> tops: array<u32, 64>;
var<workgroup> firsts: array<u32, 64>;
var<workgroup> lows: array<u32, 64>;

// Where a thread stands.
struct Place {
    local: u32,
    subgroup: u32,
    subgroups: u32,
    lane: u32,
    lanes: u32,
}

// The largest key, its first token, and the smallest of the largest keys of the threads.
fn largest(items: Items, place: Place) -> vec3<u32> {
    var best = Item(0u, NONE);
    for (var i = place.local; i < items.count; i += 256u) {
        let it = item(items, i);
        if it.key > best.key {
            best = it;
        }
    }
    let top = subgroupMax(best.key);
    let first = subgroupMin(select(NONE, best.token, best.key == top));
    let low = subgroupMin(best.key);
    if place.lane == 0u {
        tops[place.subgroup] = top;
        firsts[place.subgroup] = first;
        lows[place.subgroup] = low;
    }
    workgroupBarrier();
    var all = vec3<u32>(0u, NONE, NONE);
    for (var i = 0u; i < place.subgroups; i += 1u) {
        let better = tops[i] > all.x || (tops[i] == all.x && firsts[i] < all.y);
        all = vec3<u32>(max(all.x, tops[i]), select(all.y, firsts[i], better), min(all.z, lows[i]));
    }
    workgroupBarrier();
    return all;
}

// Lists the items from key `low`, in token order, and returns how many there are.
fn list(items: Items, low: u32, place: Place) -> u32 {
    var count = 0u;
    for (var start = 0u; start < items.count; start += 256u) {
        var it = Item(0u, NONE);
        if start + place.local < items.count {
            it = item(items, start + place.local);
        }
        let one = select(0u, 1u, it.key >= low);
        let rank = subgroupExclusiveAdd(one);
        let sum = subgroupAdd(one);
        if place.lane == 0u {
            tops[place.subgroup] = sum;
        }
        workgroupBarrier();
        var offset = count + rank;
        for (var i = 0u; i < place.subgroups; i += 1u) {
            offset += select(0u, tops[i], i < place.subgroup);
            count += tops[i];
        }
        if one == 1u {
            let at = list_at(items.output) + 2u * offset;
            scratch[at] = it.key;
            scratch[at + 1u] = it.token;
        }
        workgroupBarrier();
    }
    storageBarrier();
    return count;
}

// The token at `share` of the kept weight.
fn pick(items: Items, cut: Cut, share: f32, place: Place) -> u32 {
    let all = mass(items, cut, place.subgroup, place.subgroups, place.lane, place.lanes);
    let len = (items.count + 255u) / 256u;
    var left = share * all;
    var stretch = 0u;
    for (var s = 0u; s < 256u; s += 1u) {
        // The last with any weight, if rounding leaves the share beyond all.
        if stretches[s] > 0.0 {
            stretch = s;
            if left < stretches[s] {
                break;
            }
            left -= stretches[s];
        }
    }
    for (var i = place.local; i < len; i += 256u) {
        var w = 0.0;
        if stretch * len + i < items.count {
            let it = item(items, stretch * len + i);
            w = select(0.0, weight(items, it.key), is_kept(cut, it));
        }
        cells[i] = w;
    }
    workgroupBarrier();
    var chosen = 0u;
    for (var i = 0u; i < len; i += 1u) {
        if cells[i] > 0.0 {
            chosen = i;
            left -= cells[i];
            if left < 0.0 {
                break;
            }
        }
    }
    return item(items, stretch * len + chosen).token;
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_size) lanes: u32,
) {
    let output = group.x;
    if output >= batch[1] {
        return;
    }
    let place = Place(local, subgroup, subgroups, lane, lanes);
    let out = step.out + output * step.out_stride;
    let penalized = (choice_word(output, 8u) & PENALIZES) != 0u;
    var items = Items(output, step.vocabulary, false, penalized, 0.0, choice_number(output, 0u));
    let top = largest(items, place);
    let usable = top.x < INFINITE && top.x > LOWEST;
    if !usable || items.temperature == 0.0 {
        if local == 0u {
            arena[out] = bitcast<f32>(select(NONE, top.y, usable));
        }
        return;
    }
    items.max = value_of(top.x);
    var cut = Cut(0u, NONE);
    let top_k = choice_word(output, 1u);
    let top_p = choice_number(output, 2u);
    var low = LOWEST;
    if top_k > 0u && top_k < step.vocabulary {
        if top_k <= 256u && step.vocabulary >= 256u {
            // Each thread has an item from here on: together enough.
            low = top.z;
            items.count = list(items, low, place);
            items.listed = true;
        }
        cut = narrow(items, cut, COUNT_KEYS, f32(top_k), low, top.x, local);
    }
    if top_p < 1.0 {
        let all = mass(items, cut, subgroup, subgroups, lane, lanes);
        workgroupBarrier();
        if cut.key == 0u {
            // Lighter tokens hold less than what is left out even if all are.
            let lightest = (1.0 - top_p) * all / f32(step.vocabulary);
            low = key_of(bitcast<u32>(items.max + max(items.temperature * log(lightest), -1.0e30)));
            low = clamp(low, LOWEST, top.x);
            items.count = list(items, low, place);
            items.listed = true;
        }
        cut = narrow(items, cut, WEIGH_KEYS, top_p * all, max(low, cut.key), top.x, local);
    }
    let min_p = choice_number(output, 3u);
    if min_p > -3.0e38 {
        let floor_key = key_of(bitcast<u32>(items.max + min_p));
        if floor_key > cut.key {
            cut = Cut(floor_key, NONE);
        }
    }
    let token = pick(items, cut, choice_number(output, 7u), place);
    if local == 0u {
        arena[out] = bitcast<f32>(token);
    }
}
