// What a thread or subgroup of attention/matrix keeps in registers, and every loop over it.
//
// The loops are written out as calls with constant arguments: a compiler that does not unroll a loop over an
// array puts the array in memory, which halved the speed on an H100. Guards around cooperative operations
// must be constants, or the operations would not count as in uniform control flow.

// Cache words on their way, and queries on theirs.
var<private> ahead: array<vec4<f16>, LOADS>;
var<private> asked: array<vec4<f16>, CHUNKS * QUERY_LOADS>;
// 16 columns of the queries each, SIDE x SIDE tiles.
var<private> queries: array<Left, SIDE * SIDE * STEPS>;
// The block of scores.
var<private> block: array<Sum, SIDE * SIDE>;
// V_BLOCKS x P_BLOCKS blocks, pairs innermost, of SIDE x SIDE tiles.
var<private> accumulators: array<Sum, SIDE * SIDE * V_OWN>;

// Asks for the `i`th of this thread's words, row by row, keys before values.
fn fetch(i: u32, row: vec2<u32>, key: u32, value: u32) {
    if i < LOADS {
        let word = i % ROW_LOADS;
        let first = select(value, key, word < K_LOADS) + word * ROW_THREADS;
        ahead[i] = cache[select(row.x, row.y, i >= ROW_LOADS) + first];
    }
}

fn fetch4(i: u32, row: vec2<u32>, key: u32, value: u32) {
    fetch(i, row, key, value);
    fetch(i + 1u, row, key, value);
    fetch(i + 2u, row, key, value);
    fetch(i + 3u, row, key, value);
}

fn fetch_all(row: vec2<u32>, key: u32, value: u32) {
    fetch4(0u, row, key, value);
    fetch4(4u, row, key, value);
    fetch4(8u, row, key, value);
    fetch4(12u, row, key, value);
    fetch4(16u, row, key, value);
}

// Stores the `i`th of them in workgroup memory.
fn stage(i: u32, thread: u32) {
    if i < LOADS {
        let word = i % ROW_LOADS;
        let col = (thread % ROW_THREADS + word * ROW_THREADS) * 4u;
        let row = thread / ROW_THREADS + i / ROW_LOADS * 16u;
        put(select(VALUES_AT + row * VALUE + col - K_WIDTH, row * KEY + col, word < K_LOADS), ahead[i]);
    }
}

fn stage4(i: u32, thread: u32) {
    stage(i, thread);
    stage(i + 1u, thread);
    stage(i + 2u, thread);
    stage(i + 3u, thread);
}

fn stage_all(thread: u32) {
    stage4(0u, thread);
    stage4(4u, thread);
    stage4(8u, thread);
    stage4(12u, thread);
    stage4(16u, thread);
}

// Asks for word `i` of the queries: CHUNKS chunks of as many pairs as a round has positions.
fn ask(i: u32, thread: u32) {
    if i < CHUNKS * QUERY_LOADS {
        let row = i / QUERY_LOADS * POSITIONS + i % QUERY_LOADS / K_LOADS * 16u + thread / ROW_THREADS;
        let pair = pairs[min(row, PAIRS - 1u)];
        let col = (thread % ROW_THREADS + i % K_LOADS * ROW_THREADS) * 4u;
        let at = step.q + pair.row * step.q_stride + pair.head * step.q_head + col;
        asked[i] = vec4<f16>(vec4(arena[at], arena[at + 1u], arena[at + 2u], arena[at + 3u]));
    }
}

fn ask3(i: u32, thread: u32) {
    ask(i, thread);
    ask(i + 1u, thread);
    ask(i + 2u, thread);
}

fn ask_all(thread: u32) {
    ask3(0u, thread);
    ask3(3u, thread);
    ask3(6u, thread);
    ask3(9u, thread);
    ask3(12u, thread);
    ask3(15u, thread);
}

// Stores word `i` of chunk `chunk` of the queries in workgroup memory, where the keys will be.
fn stage_query(chunk: u32, i: u32, thread: u32) {
    if i < QUERY_LOADS {
        let row = i / K_LOADS * 16u + thread / ROW_THREADS;
        let col = (thread % ROW_THREADS + i % K_LOADS * ROW_THREADS) * 4u;
        put(row * KEY + col, asked[chunk * QUERY_LOADS + i]);
    }
}

fn stage_query3(chunk: u32, i: u32, thread: u32) {
    stage_query(chunk, i, thread);
    stage_query(chunk, i + 1u, thread);
    stage_query(chunk, i + 2u, thread);
}

// Takes 16 columns of a chunk's queries into registers if this subgroup's pairs are in it.
fn take(chunk: u32, i: u32, place: Place) {
    for (var t = 0u; t < SIDE * SIDE; t += 1u) {
        let row = place.pair % POSITIONS + t / SIDE * TILE;
        let at = row * KEY + place.slice + i * 16u + t % SIDE * TILE;
        let stride = KEY / CELL;
        let part = coopLoadT<Left>(&staged[at / CELL], stride);
        if place.pair / POSITIONS == chunk {
            queries[i * SIDE * SIDE + t] = part;
        }
    }
}

fn take2(chunk: u32, i: u32, place: Place) {
    take(chunk, i, place);
    take(chunk, i + 1u, place);
}

fn take_chunk(chunk: u32, place: Place, thread: u32) {
    workgroupBarrier();
    stage_query3(chunk, 0u, thread);
    stage_query3(chunk, 3u, thread);
    stage_query3(chunk, 6u, thread);
    stage_query3(chunk, 9u, thread);
    stage_query3(chunk, 12u, thread);
    stage_query3(chunk, 15u, thread);
    workgroupBarrier();
    if STEPS % 2u == 1u { take(chunk, STEPS - 1u, place); }
    if STEPS > 1u { take2(chunk, 0u, place); }
    if STEPS > 3u { take2(chunk, 2u, place); }
    if STEPS > 5u { take2(chunk, 4u, place); }
    if STEPS > 7u { take2(chunk, 6u, place); }
    if STEPS > 9u { take2(chunk, 8u, place); }
    if STEPS > 11u { take2(chunk, 10u, place); }
    if STEPS > 13u { take2(chunk, 12u, place); }
    if STEPS > 15u { take2(chunk, 14u, place); }
    if STEPS > 17u { take2(chunk, 16u, place); }
}

// Adds 16 columns to the block of scores.
fn score(i: u32, place: Place) {
    for (var t = 0u; t < SIDE * SIDE; t += 1u) {
        // Tile t % SIDE of the columns, t / SIDE of the positions.
        let row = place.position + t / SIDE * TILE;
        let at = row * KEY + place.slice + i * 16u + t % SIDE * TILE;
        let stride = KEY / CELL;
        let key = coopLoad<Right>(&staged[at / CELL], stride);
        for (var m = 0u; m < SIDE; m += 1u) {
            let query = (i * SIDE + m) * SIDE + t % SIDE;
            let own = m * SIDE + t / SIDE;
            block[own] = coopMultiplyAdd(queries[query], key, block[own]);
        }
    }
}

fn score2(i: u32, place: Place) {
    score(i, place);
    score(i + 1u, place);
}

fn score_all(place: Place) {
    for (var t = 0u; t < SIDE * SIDE; t += 1u) {
        block[t] = Sum();
    }
    if STEPS > 1u { score2(0u, place); }
    if STEPS > 3u { score2(2u, place); }
    if STEPS > 5u { score2(4u, place); }
    if STEPS > 7u { score2(6u, place); }
    if STEPS > 9u { score2(8u, place); }
    if STEPS > 11u { score2(10u, place); }
    if STEPS > 13u { score2(12u, place); }
    if STEPS > 15u { score2(14u, place); }
    if STEPS > 17u { score2(16u, place); }
    if STEPS % 2u == 1u { score(STEPS - 1u, place); }
    for (var t = 0u; t < SIDE * SIDE; t += 1u) {
        let at = (place.part + t / SIDE * TILE) * SCORE + place.position + t % SIDE * TILE;
        let stride = SCORE;
        coopStoreT(block[t], &scores[at], stride);
    }
}
