// gated_mul: out = activation(x) * y. `extra` is the activation, `scale` its limit.
//#import gated_mul/activation

fn gated_mul(op: Micro, place: Place) {
    for (var i = place.thread; i < op.heads * op.width; i += place.threads) {
        let head = i / op.width;
        let col = i % op.width;
        let gate = arena[word(op.x, place.row, head, col)];
        let up = arena[word(op.y, place.row, head, col)];
        arena[word(op.out, place.row, head, col)] = activate(op.extra, op.scale, gate, up);
    }
}
