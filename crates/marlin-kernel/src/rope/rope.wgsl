// rope: each pair (u, v) becomes scale * (u cos a - v sin a, v cos a + u sin a). `extra` is the number of
// the table of angles times 2, plus 1 for pairs (i, i + width / 2) in place of (2i, 2i + 1).
//
//   batch[11 + table] -> one row per token: | cos 0 | sin 0 | cos 1 | sin 1 | ...

fn rope(op: Micro, place: Place) {
    let pairs = op.width / 2u;
    let half = (op.extra & 1u) == 1u;
    let angles = batch[11u + op.extra / 2u] + place.row * op.width;
    for (var i = place.thread; i < op.heads * pairs; i += place.threads) {
        let head = i / pairs;
        let pair = i % pairs;
        let first = select(2u * pair, pair, half);
        let second = select(2u * pair + 1u, pair + pairs, half);
        let cosine = bitcast<f32>(batch[angles + 2u * pair]);
        let sine = bitcast<f32>(batch[angles + 2u * pair + 1u]);
        let u = arena[word(op.x, place.row, head, first)];
        let v = arena[word(op.x, place.row, head, second)];
        arena[word(op.out, place.row, head, first)] = op.scale * (u * cosine - v * sine);
        arena[word(op.out, place.row, head, second)] = op.scale * (v * cosine + u * sine);
    }
}
