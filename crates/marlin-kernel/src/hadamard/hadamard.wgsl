// hadamard: out[i] = scale * sum_j (-1)^popcount(i & j) x[j] in each block of `extra` columns. `scale` is
// block^-1/2. A thread sums one output: the block it reads comes from the cache, its neighbours read it too.

fn hadamard(op: Micro, place: Place) {
    for (var i = place.thread; i < op.heads * op.width; i += place.threads) {
        let head = i / op.width;
        let col = i % op.width;
        let first = word(op.x, place.row, head, col / op.extra * op.extra);
        var sum = 0.0;
        for (var j = 0u; j < op.extra; j += 1u) {
            let negative = (countOneBits(col & j) & 1u) == 1u;
            sum += select(arena[first + j], -arena[first + j], negative);
        }
        arena[word(op.out, place.row, head, col)] = op.scale * sum;
    }
}
