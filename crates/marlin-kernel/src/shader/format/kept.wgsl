// Two of each four columns have a code, the others are 0: 2:4 sparse weights.
//
//   positions   bits 4q + 1, 4q: the first kept column of 4q..4q+3;  bits 4q + 3, 4q + 2: the second
//
// Six operations for each four columns.

// What `values8` gives for a value of 0.
const DROPPED: f32 = CODE_ZERO / CODE_UNIT;

// Four columns: the two kept values at their positions.
fn four_columns(kept: vec2<f32>, positions: u32) -> vec4<f32> {
    let columns = vec4<u32>(0u, 1u, 2u, 3u);
    let first = columns == vec4<u32>(positions & 3u);
    let second = columns == vec4<u32>((positions >> 2u) & 3u);
    return select(select(vec4<f32>(DROPPED), vec4<f32>(kept.y), second), vec4<f32>(kept.x), first);
}

// Eight columns from four kept values, `positions` in the lowest byte.
fn eight_columns(kept: vec4<f32>, positions: u32) -> Eight {
    return Eight(four_columns(kept.xy, positions), four_columns(kept.zw, positions >> 4u));
}
