// Finds an item by what the items above it add up to, without sorting: sixteen ranges at a time.
//
//   value     | range 15 | range 14 | ... | range 0 |     the range where the sum reaches the target is cut
//   sums        0.2        0.5  <- reached                into sixteen again, until a range is one value
//
// A thread has a cell of its own for each range, so that every sum has one order.

//#import sample/row

// Range r of thread t: r * 256 + t.
var<workgroup> cells: array<f32, 4096>;
var<workgroup> partial: array<f32, 256>;
// Sums of 256 stretches of the items.
var<workgroup> stretches: array<f32, 256>;

// What is ordered, and what is added up.
const COUNT_KEYS: u32 = 0u;
const WEIGH_KEYS: u32 = 1u;
const COUNT_TOKENS: u32 = 2u;

struct Found {
    value: u32,
    // The sum of all above it.
    above: f32,
}

// The largest value whose items and those above reach `goal`; the smallest there is if none does. Values
// are keys, or for COUNT_TOKENS the complements of the tokens that have the cut's key. Looks at values
// from `low` to `high`, both included; all of the workgroup call it together.
fn find(items: Items, cut: Cut, mode: u32, goal: f32, low: u32, high: u32, local: u32) -> Found {
    var found = Found(low, 0.0);
    var span = high - low;
    var bits = 32u - countLeadingZeros(span);
    loop {
        let shift = select(bits - 4u, 0u, bits < 4u);
        for (var r = 0u; r < 16u; r += 1u) {
            cells[r * 256u + local] = 0.0;
        }
        for (var i = local; i < items.count; i += 256u) {
            let it = item(items, i);
            let value = select(it.key, ~it.token, mode == COUNT_TOKENS);
            let counts = is_kept(cut, it) && (mode != COUNT_TOKENS || it.key == cut.key);
            if counts && value >= found.value && value - found.value <= span {
                let cell = ((value - found.value) >> shift) * 256u + local;
                cells[cell] += select(1.0, weight(items, it.key), mode == WEIGH_KEYS);
            }
        }
        workgroupBarrier();
        var sum = 0.0;
        for (var j = 0u; j < 16u; j += 1u) {
            sum += cells[(local / 16u) * 256u + (local % 16u) * 16u + j];
        }
        partial[local] = sum;
        workgroupBarrier();
        var above = found.above;
        var range = 0u;
        for (var r = 16u; r > 0u; r -= 1u) {
            var one = 0.0;
            for (var j = 0u; j < 16u; j += 1u) {
                one += partial[(r - 1u) * 16u + j];
            }
            if one > 0.0 {
                range = r - 1u;
                found.above = above;
                above += one;
                if above >= goal {
                    break;
                }
            }
        }
        workgroupBarrier();
        found.value += range << shift;
        if shift == 0u {
            break;
        }
        bits = shift;
        span = (1u << shift) - 1u;
    }
    return found;
}

// The cut that keeps the fewest best of what `cut` keeps that reach `goal`, in number or in weight.
fn narrow(items: Items, cut: Cut, mode: u32, goal: f32, low: u32, high: u32, local: u32) -> Cut {
    let found = find(items, cut, mode, goal, low, high, local);
    let one = select(1.0, weight(items, found.value), mode == WEIGH_KEYS);
    // Equal logits count by token, the lowest first.
    let equal = Cut(found.value, select(NONE, cut.token, found.value == cut.key));
    let wanted = max(1.0, ceil((goal - found.above) / max(one, 1e-37)));
    let last = find(items, equal, COUNT_TOKENS, wanted, ~(step.vocabulary - 1u), NONE, local);
    return Cut(found.value, min(equal.token, ~last.value));
}

// The weight of all that is kept; leaves the weights of 256 stretches of items in `stretches`.
fn mass(items: Items, cut: Cut, subgroup: u32, subgroups: u32, lane: u32, lanes: u32) -> f32 {
    let len = (items.count + 255u) / 256u;
    for (var s = subgroup; s < 256u; s += subgroups) {
        var sum = 0.0;
        let end = min(items.count, (s + 1u) * len);
        for (var i = s * len + lane; i < end; i += lanes) {
            let it = item(items, i);
            sum += select(0.0, weight(items, it.key), is_kept(cut, it));
        }
        sum = subgroupAdd(sum);
        if lane == 0u {
            stretches[s] = sum;
        }
    }
    workgroupBarrier();
    var sum = 0.0;
    for (var s = 0u; s < 256u; s += 1u) {
        sum += stretches[s];
    }
    return sum;
}
