// rms_norm: each segment x * rsqrt(mean(x^2) + eps) * weight. `scale` is eps, `extra` the weight's place.

fn rms_norm(op: Micro, place: Place) {
    if op.heads == 1u {
        norm_segment_by_workgroup(op, place);
        return;
    }
    for (var head = place.subgroup; head < op.heads; head += place.subgroups) {
        var squares = 0.0;
        for (var col = place.lane; col < op.width; col += place.lanes) {
            let x = arena[word(op.x, place.row, head, col)];
            squares += x * x;
        }
        let factor = inverseSqrt(subgroupAdd(squares) / f32(op.width) + op.scale);
        for (var col = place.lane; col < op.width; col += place.lanes) {
            let x = arena[word(op.x, place.row, head, col)];
            arena[word(op.out, place.row, head, col)] = x * factor * vectors[op.extra + col];
        }
    }
}

fn norm_segment_by_workgroup(op: Micro, place: Place) {
    var squares = 0.0;
    for (var col = place.thread; col < op.width; col += place.threads) {
        let x = arena[word(op.x, place.row, 0u, col)];
        squares += x * x;
    }
    let factor = inverseSqrt(workgroup_sum(squares, place) / f32(op.width) + op.scale);
    for (var col = place.thread; col < op.width; col += place.threads) {
        let x = arena[word(op.x, place.row, 0u, col)];
        arena[word(op.out, place.row, 0u, col)] = x * factor * vectors[op.extra + col];
    }
}
