// One row of logits as items: a key that orders logits as integers, and the token.
//
//   key   NaN 0xffffffff | +inf 0xff800000 | ... | 0 and -0 | ... | -inf 0x007fffff
//   list  what a filter can keep at all, in token order: | key | token | key | token | ... in `scratch`,
//         after the rows of `sample_penalties`
//
// Bindings: those of `choice`, 7 scratch.

//#import sample/choice
@group(0) @binding(7) var<storage, read_write> scratch: array<u32>;

const NONE: u32 = 0xffffffffu;
const INFINITE: u32 = 0xff800000u;
const LOWEST: u32 = 0x007fffffu;

struct Item {
    key: u32,
    token: u32,
}

// Where a workgroup's items are, and what gives them weight.
struct Items {
    output: u32,
    // Items there are; whether they are those of the list, or the row's.
    count: u32,
    listed: bool,
    penalized: bool,
    max: f32,
    temperature: f32,
}

fn key_of(bits: u32) -> u32 {
    if (bits & 0x7fffffffu) > 0x7f800000u {
        return NONE;
    }
    return select(bits | 0x80000000u, ~bits, bits > 0x80000000u);
}

fn value_of(key: u32) -> f32 {
    return bitcast<f32>(select(~key, key & 0x7fffffffu, (key >> 31u) == 1u));
}

fn list_at(output: u32) -> u32 {
    return (batch[1] + 2u * output) * step.vocabulary;
}

fn item(items: Items, index: u32) -> Item {
    if items.listed {
        let at = list_at(items.output) + 2u * index;
        return Item(scratch[at], scratch[at + 1u]);
    }
    if items.penalized {
        return Item(key_of(scratch[items.output * step.vocabulary + index]), index);
    }
    return Item(key_of(bitcast<u32>(arena[step.logits + items.output * step.logits_stride + index])), index);
}

// exp((logit - max) / temperature), 0 where that is less than a normal number.
fn weight(items: Items, key: u32) -> f32 {
    if key <= LOWEST {
        return 0.0;
    }
    let power = (value_of(key) - items.max) / items.temperature;
    return select(exp(max(power, -87.0)), 0.0, power < -87.0);
}

// The worst item that is kept.
struct Cut {
    key: u32,
    token: u32,
}

fn is_kept(cut: Cut, it: Item) -> bool {
    return it.key > cut.key || (it.key == cut.key && it.token <= cut.token);
}
