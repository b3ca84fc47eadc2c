// permute: out[j] = x[order[j]] in each segment; `extra` is the first word of the order in `tables`.

fn permute(op: Micro, place: Place) {
    for (var i = place.thread; i < op.heads * op.width; i += place.threads) {
        let head = i / op.width;
        let col = i % op.width;
        let source = tables[op.extra + col];
        arena[word(op.out, place.row, head, col)] = arena[word(op.x, place.row, head, source)];
    }
}
