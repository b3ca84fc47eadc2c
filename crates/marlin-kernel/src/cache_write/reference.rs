//! Cache writes, one token after another.

use crate::{
    Error,
    plan::{Op, Plan},
    reference::Memory,
};

/// Copies row t of `x [tokens, len]` to columns `start..start + len` of row `slots[t]` of `cache
/// [slots, width]`.
pub fn cache_write(x: &[f32], cache: &mut [f32], width: usize, start: usize, slots: &[usize]) {
    let len = x.len() / slots.len();
    for (values, slot) in x.chunks_exact(len).zip(slots) {
        cache[slot * width + start..][..len].copy_from_slice(values);
    }
}

pub(crate) fn play(op: &Op, _: &Plan, memory: &mut Memory) -> Result<(), Error> {
    let Op::CacheWrite { x, cache, start } = op else { unreachable!("{op:?} is no cache_write") };
    let (values, slots) = (memory.load(x), memory.slots());
    let (cache, width) = memory.cache_mut(*cache);
    cache_write(&values, cache, width, *start, &slots);
    Ok(())
}
