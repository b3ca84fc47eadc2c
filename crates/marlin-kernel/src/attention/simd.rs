//! Attention of a few queries over the pages of one sequence: the loops that a player's threads run.
//!
//! Positions are taken in spans of [`SPAN`] counted from 0. A span gives each query a partial result: its
//! largest score, the sum of its exponentials and the sum of values so weighted; partials merge in the
//! order of spans (online softmax, arXiv 1805.02867). Spans lie at the same positions whoever asks, so a
//! result depends neither on the queries computed together nor on the threads that share the spans.

#![expect(clippy::needless_range_loop, reason = "tiles are indexed by row and column, as they are drawn")]

use std::ops::Range;

use half::{f16, slice::HalfFloatSliceExt};

use crate::{
    plan::AttentionShape,
    simd::{
        Isa, Simd, Task,
        activation::padded,
        math::exp,
        tile::{array, float_tile},
    },
};

/// Positions of a span.
pub const SPAN: usize = 128;

/// Values of a cache, as a player stores them.
#[derive(Clone, Copy, Debug)]
pub enum CacheValues<'a> {
    /// IEEE single.
    F32(&'a [f32]),
    /// IEEE half.
    F16(&'a [f16]),
}

/// The cache rows of one sequence.
#[derive(Clone, Copy, Debug)]
pub struct CacheRows<'a> {
    /// All rows of the cache.
    pub values: CacheValues<'a>,
    /// Values of a row.
    pub width: usize,
    /// Rows of a page.
    pub page_size: usize,
    /// The sequence's pages.
    pub pages: &'a [u32],
}

/// A query: one head of one token.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// `k_width` values.
    pub values: &'a [f32],
    /// The token's position.
    pub position: usize,
}

/// Queries that read the same key/value head of the same sequence.
#[derive(Clone, Copy, Debug)]
pub struct HeadQueries<'a> {
    /// The sequence's cache rows.
    pub cache: CacheRows<'a>,
    /// Where keys and values lie in them.
    pub shape: &'a AttentionShape,
    /// The head.
    pub kv_head: usize,
    /// The queries.
    pub queries: &'a [Query<'a>],
}

/// One thread's memory for attention.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Keys or values of a span, if the cache is not f32.
    rows: Vec<f32>,
    /// Scores, then their exponentials, `SPAN` for each query.
    scores: Vec<[f32; SPAN]>,
    /// The partials of one span.
    partials: Vec<f32>,
}

/// Values of a query's partial: the largest score, the sum of exponentials, `v_width` weighted sums.
pub fn partial_len(shape: &AttentionShape) -> usize {
    2 + shape.v_width
}

/// A partial of no positions, to merge others into.
pub fn clear(partial: &mut [f32]) {
    partial.fill(0.0);
    partial[0] = f32::MIN;
}

/// Adds the positions of `from` to those of `into`; they come after them.
pub fn merge(into: &mut [f32], from: &[f32]) {
    if from[1] == 0.0 {
        return;
    }
    let largest = into[0].max(from[0]);
    let (kept, added) = (exp(into[0] - largest), exp(from[0] - largest));
    into[0] = largest;
    for (into, from) in into[1..].iter_mut().zip(&from[1..]) {
        *into = *into * kept + from * added;
    }
}

/// The attention of a query whose partials are all merged, with the score of its head's sink if it has one.
pub fn finish(partial: &[f32], sink: Option<f32>, out: &mut [f32]) {
    let factor = match sink {
        None => 1.0 / partial[1],
        Some(sink) => {
            let largest = partial[0].max(sink);
            let kept = exp(partial[0] - largest);
            kept / (kept * partial[1] + exp(sink - largest))
        }
    };
    for (out, value) in out.iter_mut().zip(&partial[2..]) {
        *out = value * factor;
    }
}

impl HeadQueries<'_> {
    /// The spans some query sees.
    pub fn spans(&self) -> Range<usize> {
        let visible = self.visible();
        visible.start / SPAN..visible.end.div_ceil(SPAN)
    }

    /// Merges the partials of `spans`, in order, into `partials`, [`partial_len`] values a query.
    pub fn compute(&self, isa: Isa, spans: Range<usize>, scratch: &mut Scratch, partials: &mut [f32]) {
        for span in spans {
            isa.run(Span { of: self, start: span * SPAN, scratch, partials });
        }
    }

    fn visible(&self) -> Range<usize> {
        let ranges = self.queries.iter().map(|query| self.shape.visible(query.position));
        ranges.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or(0..0)
    }
}

struct Span<'a> {
    of: &'a HeadQueries<'a>,
    start: usize,
    scratch: &'a mut Scratch,
    partials: &'a mut [f32],
}

impl Task for Span<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Span { of: &HeadQueries { cache, shape, kv_head, queries }, start, scratch, partials } = self;
        let Scratch { rows, scores, partials: of_span } = scratch;
        let visible = self.of.visible();
        let seen = visible.start.max(start)..visible.end.min(start + SPAN);
        let (first, len) = (seen.start - start, partial_len(shape));
        scores.resize(queries.len(), [0.0; SPAN]);
        of_span.resize(queries.len() * len, 0.0);

        let keys = shape.k_start + kv_head * shape.k_width;
        let keys = span_rows(cache, seen.clone(), keys..keys + shape.k_width, rows);
        score(s, queries, &keys[..seen.len()], first, scores);
        for ((query, scores), partial) in queries.iter().zip(&mut *scores).zip(of_span.chunks_exact_mut(len))
        {
            let sees = shape.visible(query.position);
            let inside = |position: usize| position.clamp(start, start + SPAN) - start;
            (partial[0], partial[1]) =
                exponentials(scores, inside(sees.start)..inside(sees.end), shape.scale);
        }
        let values = shape.v_start + kv_head * shape.v_width;
        let values = span_rows(cache, seen.clone(), values..values + shape.v_width, rows);
        let mut at = 0;
        if S::WIDE {
            while at + 4 <= queries.len() {
                weigh::<S, 4>(s, &scores[at..], &values[..seen.len()], first, &mut of_span[at * len..]);
                at += 4;
            }
        }
        while at + 2 <= queries.len() {
            weigh::<S, 2>(s, &scores[at..], &values[..seen.len()], first, &mut of_span[at * len..]);
            at += 2;
        }
        if at < queries.len() {
            weigh::<S, 1>(s, &scores[at..], &values[..seen.len()], first, &mut of_span[at * len..]);
        }
        for (into, from) in partials.chunks_exact_mut(len).zip(of_span.chunks_exact(len)) {
            merge(into, from);
        }
    }
}

/// The columns of the cache rows of up to [`SPAN`] positions, converted to f32 in `scratch` if they
/// must be.
#[inline(always)]
fn span_rows<'a>(
    cache: CacheRows<'a>,
    positions: Range<usize>,
    columns: Range<usize>,
    scratch: &'a mut Vec<f32>,
) -> [&'a [f32]; SPAN] {
    let mut rows: [&[f32]; SPAN] = [&[]; SPAN];
    let start = |position: usize| {
        let page = cache.pages[position / cache.page_size] as usize;
        (page * cache.page_size + position % cache.page_size) * cache.width + columns.start
    };
    match cache.values {
        CacheValues::F32(values) => {
            for (row, position) in rows.iter_mut().zip(positions) {
                *row = &values[start(position)..][..columns.len()];
            }
        }
        CacheValues::F16(values) => {
            scratch.resize(SPAN * columns.len(), 0.0);
            for (row, position) in scratch.chunks_exact_mut(columns.len()).zip(positions) {
                values[start(position)..][..columns.len()].convert_to_f32_slice(row);
            }
            for (row, converted) in rows.iter_mut().zip(scratch.chunks_exact(columns.len())) {
                *row = converted;
            }
        }
    }
    rows
}

/// Products of all queries with all keys; key 0 is position `first` of the span.
#[inline(always)]
fn score<S: Simd>(s: S, queries: &[Query<'_>], keys: &[&[f32]], first: usize, scores: &mut [[f32; SPAN]]) {
    let fours = keys.len() / 4;
    for four in 0..fours {
        let keys = array(|k| keys[4 * four + k]);
        score_keys::<S, 4>(s, queries, keys, first + 4 * four, scores);
    }
    for (k, key) in keys.iter().enumerate().skip(4 * fours) {
        score_keys::<S, 1>(s, queries, [*key], first + k, scores);
    }
}

/// Products of all queries with K keys, the first at position `at` of the span.
#[inline(always)]
fn score_keys<S: Simd, const K: usize>(
    s: S,
    queries: &[Query<'_>],
    keys: [&[f32]; K],
    at: usize,
    scores: &mut [[f32; SPAN]],
) {
    let mut query = 0;
    while query + 2 <= queries.len() {
        let tile = float_tile(s, keys, [queries[query].values, queries[query + 1].values]);
        for k in 0..K {
            scores[query][at + k] = tile[k][0];
            scores[query + 1][at + k] = tile[k][1];
        }
        query += 2;
    }
    if query < queries.len() {
        let tile = float_tile(s, keys, [queries[query].values]);
        for k in 0..K {
            scores[query][at + k] = tile[k][0];
        }
    }
}

/// Turns the scores a query sees into exponentials, all others into 0; returns the largest score and
/// the sum.
#[inline(always)]
fn exponentials(scores: &mut [f32; SPAN], sees: Range<usize>, scale: f32) -> (f32, f32) {
    let mut largest = f32::MIN;
    for score in &mut scores[sees.clone()] {
        *score *= scale;
        largest = largest.max(*score);
    }
    scores[..sees.start].fill(0.0);
    scores[sees.end..].fill(0.0);
    let mut lanes = [0.0; 8];
    for score in &mut scores[sees] {
        *score = exp(*score - largest);
    }
    for chunk in scores.as_chunks::<8>().0 {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    (largest, lanes.iter().sum())
}

/// The weighted sums of the value rows for X queries; row 0 is position `first` of the span.
#[inline(always)]
fn weigh<S: Simd, const X: usize>(
    s: S,
    weights: &[[f32; SPAN]],
    rows: &[&[f32]],
    first: usize,
    partials: &mut [f32],
) {
    let weights: [&[f32]; X] = array(|x| &weights[x][first..first + rows.len()]);
    let width = rows.first().map_or(0, |row| row.len());
    let len = 2 + width;
    let mut col = 0;
    while col + 32 <= width {
        let sums = weighted::<S, X, 4>(s, weights, rows, |row, c| s.load(&row[col..].as_chunks().0[c]));
        for (x, sums) in sums.iter().enumerate() {
            let out = partials[x * len + 2 + col..][..32].as_chunks_mut().0;
            for (out, lanes) in out.iter_mut().zip(sums) {
                s.store(*lanes, out);
            }
        }
        col += 32;
    }
    while col < width {
        let end = width.min(col + 8);
        let sums = weighted::<S, X, 1>(s, weights, rows, |row, _| s.load(&padded(&row[col..end])));
        for (x, [lanes]) in sums.iter().enumerate() {
            let mut values = [0.0; 8];
            s.store(*lanes, &mut values);
            partials[x * len + 2 + col..x * len + 2 + end].copy_from_slice(&values[..end - col]);
        }
        col = end;
    }
}

/// Sums over the rows of weight times row, for C chunks of eight columns that `load` reads.
#[inline(always)]
fn weighted<S: Simd, const X: usize, const C: usize>(
    s: S,
    weights: [&[f32]; X],
    rows: &[&[f32]],
    load: impl Fn(&[f32], usize) -> S::F32,
) -> [[S::F32; C]; X] {
    let mut sums = [[s.splat(0.0); C]; X];
    for (at, row) in rows.iter().enumerate() {
        for c in 0..C {
            let lanes = load(row, c);
            for x in 0..X {
                sums[x][c] = s.mul_add(s.splat(weights[x][at]), lanes, sums[x][c]);
            }
        }
    }
    sums
}
