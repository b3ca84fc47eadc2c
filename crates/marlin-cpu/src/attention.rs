//! Attention: queries grouped into tasks that share their cache rows, partials merged in order.

use std::ops::Range;

use marlin_kernel::{
    Batch,
    attention::simd::{HeadQueries, Query, clear, finish, merge, partial_len},
    plan::{AttentionShape, CacheId, View},
    simd::Isa,
};

use crate::{
    buffers::{Buffers, segment, segment_mut},
    caches::Caches,
    threads::Threads,
};

/// Queries that read a cache row together, if there are so many.
const TOGETHER: usize = 32;

/// [`marlin_kernel::plan::Op::Attention`] as data.
pub(crate) struct Attention<'a> {
    pub q: &'a View,
    pub cache: CacheId,
    pub shape: &'a AttentionShape,
    /// A score for each head, if they have sinks.
    pub sinks: Option<&'a [f32]>,
    pub out: &'a View,
}

/// Rows of one sequence with all queries of one key/value head.
struct Tile {
    sequence: usize,
    rows: Range<usize>,
    kv_head: usize,
}

impl Attention<'_> {
    /// Computes the attention of every row; `partials` is memory kept from call to call.
    pub(crate) fn compute(
        &self,
        (isa, threads): (Isa, &Threads),
        (buffers, caches): (&mut Buffers, &Caches),
        batch: &Batch,
        partials: &mut Vec<f32>,
    ) {
        let (len, group) = (partial_len(self.shape), self.q.heads / self.shape.kv_heads);
        let tiles = self.tiles(batch, group);
        let queries: Vec<_> = tiles.iter().map(|tile| self.queries(buffers, batch, tile, group)).collect();
        let heads = tiles.iter().zip(&queries).map(|(tile, queries)| HeadQueries {
            cache: caches.rows(self.cache, &batch.sequences[tile.sequence].pages),
            shape: self.shape,
            kv_head: tile.kv_head,
            queries,
        });
        let heads: Vec<_> = heads.collect();
        // With few tiles every span is a task of its own. Either way spans merge in the same order.
        let split = threads.count() > 1 && tiles.len() < 2 * threads.count();
        let parts = |head: &HeadQueries<'_>| if split { head.spans().len() } else { 1 };
        partials.resize(heads.iter().map(|head| parts(head) * head.queries.len() * len).sum(), 0.0);
        let mut tasks = Vec::new();
        let mut rest = &mut partials[..];
        for head in &heads {
            for part in 0..parts(head) {
                let (out, after) = rest.split_at_mut(head.queries.len() * len);
                rest = after;
                let first = head.spans().start + part;
                tasks.push((head, if split { first..first + 1 } else { head.spans() }, out));
            }
        }
        threads.each(tasks, |(head, spans, out), scratch| {
            out.chunks_exact_mut(len).for_each(clear);
            head.compute(isa, spans, &mut scratch.attention, out);
        });
        let mut rest = &mut partials[..];
        let mut done: Vec<&[f32]> = Vec::new();
        for head in &heads {
            let (first, after) = rest.split_at_mut(head.queries.len() * len);
            let (others, after) = after.split_at_mut((parts(head) - 1) * head.queries.len() * len);
            for part in others.chunks_exact(first.len()) {
                for (into, from) in first.chunks_exact_mut(len).zip(part.chunks_exact(len)) {
                    merge(into, from);
                }
            }
            done.push(first);
            rest = after;
        }
        self.store(threads, buffers, batch, (&tiles, &done), group);
    }

    fn tiles(&self, batch: &Batch, group: usize) -> Vec<Tile> {
        let rows_together = (TOGETHER / group).max(1);
        let mut tiles = Vec::new();
        for (sequence, rows) in batch.sequences.iter().enumerate().map(|(at, it)| (at, &it.rows)) {
            for start in rows.clone().step_by(rows_together) {
                let rows = start..rows.end.min(start + rows_together);
                let tile = |kv_head| Tile { sequence, rows: rows.clone(), kv_head };
                tiles.extend((0..self.shape.kv_heads).map(tile));
            }
        }
        tiles
    }

    /// The queries of a tile: all heads of its group of its first row, then of the next.
    fn queries<'b>(&self, buffers: &'b Buffers, batch: &Batch, tile: &Tile, group: usize) -> Vec<Query<'b>> {
        let query = |row: usize, head: usize| Query {
            values: segment(buffers.row(self.q.buffer, row), self.q, tile.kv_head * group + head),
            position: batch.positions[row] as usize,
        };
        tile.rows.clone().flat_map(|row| (0..group).map(move |head| query(row, head))).collect()
    }

    fn store(
        &self,
        threads: &Threads,
        buffers: &mut Buffers,
        batch: &Batch,
        (tiles, done): (&[Tile], &[&[f32]]),
        group: usize,
    ) {
        let len = partial_len(self.shape);
        let mut first_tile = vec![0; batch.tokens.len()];
        for (at, tile) in tiles.iter().enumerate().filter(|(_, tile)| tile.kv_head == 0) {
            first_tile[tile.rows.clone()].fill(at);
        }
        buffers.update(threads, self.out.buffer, [], |row, [], out_row| {
            for head in 0..self.out.heads {
                let at = first_tile[row] + head / group;
                let query = (row - tiles[at].rows.start) * group + head % group;
                let sink = self.sinks.map(|sinks| sinks[head]);
                finish(&done[at][query * len..][..len], sink, segment_mut(out_row, self.out, head));
            }
        });
    }
}
