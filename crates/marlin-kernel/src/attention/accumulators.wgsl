// The accumulators of attention/matrix: adding weighted values, rescaling, storing. See attention/registers.

// The weights of TILE positions.
var<private> left: array<Left, P_BLOCKS * SIDE>;

// Adds the values of 16 columns at positions `k .. k + TILE` to their accumulators.
fn add(j: u32, k: u32, place: Place) {
    for (var n = 0u; n < SIDE; n += 1u) {
        let at = VALUES_AT + k * VALUE + place.first_col + j * 16u + n * TILE;
        let stride = VALUE / CELL;
        let value = coopLoadT<Right>(&staged[at / CELL], stride);
        for (var i = 0u; i < P_BLOCKS * SIDE; i += 1u) {
            let own = ((j * P_BLOCKS + i / SIDE) * SIDE + i % SIDE) * SIDE + n;
            accumulators[own] = coopMultiplyAdd(left[i], value, accumulators[own]);
        }
    }
}

fn add_all(place: Place) {
    for (var k = 0u; k < POSITIONS; k += TILE) {
        for (var i = 0u; i < P_BLOCKS * SIDE; i += 1u) {
            let at = (place.first_pair + i * TILE) * WEIGHT + k;
            let stride = WEIGHT;
            left[i] = coopLoadT<Left>(&weights[at], stride);
        }
        add(0u, k, place);
        if V_BLOCKS > 1u { add(1u, k, place); }
        if V_BLOCKS > 2u { add(2u, k, place); }
        if V_BLOCKS > 3u { add(3u, k, place); }
    }
}

// Moves a block between its registers and this subgroup's 256 words of `scores`.
fn spill(own: u32, place: Place) {
    for (var t = 0u; t < SIDE * SIDE; t += 1u) {
        let at = place.scratch + t / SIDE * TILE * 16u + t % SIDE * TILE;
        let stride = 16u;
        coopStoreT(accumulators[own * SIDE * SIDE + t], &scores[at], stride);
    }
    workgroupBarrier();
}

fn rescale_block(own: u32, place: Place) {
    spill(own, place);
    for (var j = place.lane; j < 256u; j += 32u) {
        scores[place.scratch + j] *= factors[place.first_pair + own % P_BLOCKS * 16u + j / 16u];
    }
    workgroupBarrier();
    for (var t = 0u; t < SIDE * SIDE; t += 1u) {
        let at = place.scratch + t / SIDE * TILE * 16u + t % SIDE * TILE;
        let stride = 16u;
        accumulators[own * SIDE * SIDE + t] = coopLoadT<Sum>(&scores[at], stride);
    }
}

fn rescale_all(place: Place) {
    rescale_block(0u, place);
    if V_OWN > 1u { rescale_block(1u, place); }
    if V_OWN > 2u { rescale_block(2u, place); }
    if V_OWN > 3u { rescale_block(3u, place); }
    if V_OWN > 4u { rescale_block(4u, place); }
    if V_OWN > 5u { rescale_block(5u, place); }
    if V_OWN > 6u { rescale_block(6u, place); }
    if V_OWN > 7u { rescale_block(7u, place); }
}

// Stores rows 2i and 2i + 1 of a block, from word `at` of scratch on. Pairs past the sequence's are left out.
fn park_rows(own: u32, i: u32, place: Place, at: u32) {
    let pair = place.first_pair + own % P_BLOCKS * 16u + 2u * i + place.lane / 16u;
    if pair < tile.pairs {
        scratch[at + 2u * i * V_WIDTH] = scores[place.scratch + 32u * i + place.lane];
    }
}

// Stores a block for the merge. Written out: as a loop it took 2 us more of an H100's 38.
fn park_block(own: u32, place: Place, output: Output) {
    spill(own, place);
    let col = place.owned_col + own / P_BLOCKS * 16u + place.lane % 16u;
    let at = accumulator(output, place.first_pair + own % P_BLOCKS * 16u + place.lane / 16u) + col;
    if col < V_WIDTH {
        park_rows(own, 0u, place, at);
        park_rows(own, 1u, place, at);
        park_rows(own, 2u, place, at);
        park_rows(own, 3u, place, at);
        park_rows(own, 4u, place, at);
        park_rows(own, 5u, place, at);
        park_rows(own, 6u, place, at);
        park_rows(own, 7u, place, at);
    }
    workgroupBarrier();
}

fn park_all(place: Place, output: Output) {
    park_block(0u, place, output);
    if V_OWN > 1u { park_block(1u, place, output); }
    if V_OWN > 2u { park_block(2u, place, output); }
    if V_OWN > 3u { park_block(3u, place, output); }
    if V_OWN > 4u { park_block(4u, place, output); }
    if V_OWN > 5u { park_block(5u, place, output); }
    if V_OWN > 6u { park_block(6u, place, output); }
    if V_OWN > 7u { park_block(7u, place, output); }
}

// Stores a block divided by the sums.
fn store_block(own: u32, place: Place, output: Output) {
    spill(own, place);
    for (var j = place.lane; j < 256u; j += 32u) {
        let pair = place.first_pair + own % P_BLOCKS * 16u + j / 16u;
        let col = place.owned_col + own / P_BLOCKS * 16u + j % 16u;
        store_value(output, pair, pairs[pair], col, scores[place.scratch + j], factors[pair]);
    }
    workgroupBarrier();
}

fn store_all(place: Place, output: Output) {
    store_block(0u, place, output);
    if V_OWN > 1u { store_block(1u, place, output); }
    if V_OWN > 2u { store_block(2u, place, output); }
    if V_OWN > 3u { store_block(3u, place, output); }
    if V_OWN > 4u { store_block(4u, place, output); }
    if V_OWN > 5u { store_block(5u, place, output); }
    if V_OWN > 6u { store_block(6u, place, output); }
    if V_OWN > 7u { store_block(7u, place, output); }
}
