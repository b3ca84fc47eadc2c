// gather: out = the row of x whose logits are wanted. x has token rows, out output rows.

fn gather(op: Micro, place: Place) {
    let source = batch[batch[7] + place.row];
    for (var i = place.thread; i < op.heads * op.width; i += place.threads) {
        let head = i / op.width;
        let col = i % op.width;
        arena[word(op.out, place.row, head, col)] = arena[word(op.x, source, head, col)];
    }
}
