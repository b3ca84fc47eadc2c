// cache_write: the columns of x into the token's row of the cache, from column `extra` on.
// `out.stride` is the stride of a cache row, in values.
//#import store

fn cache_write(op: Micro, place: Place) {
    let slot = batch[batch[6] + place.row];
    for (var i = place.thread; i < op.heads * op.width; i += place.threads) {
        let head = i / op.width;
        let col = i % op.width;
        cache_store(slot * op.out.stride + op.extra + i, arena[word(op.x, place.row, head, col)]);
    }
}
