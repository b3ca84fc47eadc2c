//! The protocol's positions, and batches that play each of them once.

use proptest::prelude::*;

use super::*;

#[test]
fn positions_of_the_protocol() {
    let text: Vec<u32> = (0..1600).collect();
    let windows = Windows::new(text, 512, None).unwrap();
    assert_eq!(windows.count(), 3);
    assert_eq!(windows.scored(), 256..511);
    assert_eq!(windows.scored().len(), 255);
    assert_eq!((windows.input(1, 0), windows.input(1, 510)), (512, 1022));
    assert_eq!((windows.target(0, 256), windows.target(0, 510)), (257, 511));
    assert_eq!((windows.target(2, 256), windows.target(2, 510)), (1281, 1535));
    let odd = Windows::new((0..10).collect(), 5, None).unwrap();
    assert_eq!((odd.count(), odd.scored()), (2, 2..4));
}

#[test]
fn the_protocol_of_the_gptq_paper_scores_every_token_but_the_first() {
    let windows = Windows::new((0..12).collect(), 4, None).unwrap().scored_by(Protocol::Gptq);
    assert_eq!(windows.scored(), 0..3);
    assert_eq!((windows.target(2, 0), windows.target(2, 2)), (9, 11));
    let batch = windows.batch(&Pass { windows: 0..2, positions: 0..3 }, 4);
    assert_eq!(batch.outputs, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn bos_replaces_the_first_token_of_each_window() {
    let windows = Windows::new((10..34).collect(), 8, Some(1)).unwrap();
    let inputs: Vec<u32> = (0..3).map(|window| windows.input(window, 0)).collect();
    assert_eq!(inputs, [1, 1, 1]);
    assert_eq!((windows.input(2, 1), windows.target(2, 4)), (27, 31));
    let batch = windows.batch(&Pass { windows: 1..2, positions: 0..3 }, 4);
    assert_eq!(batch.tokens, [1, 19, 20]);
}

#[test]
fn texts_and_windows_that_are_too_short() {
    let message =
        |tokens, n_ctx| Windows::new(vec![0; tokens], n_ctx, None).err().map(|error| error.to_string());
    assert_eq!(message(3, 3), None);
    assert_eq!(message(3, 2).unwrap(), "evaluation: window: found 2, expected at least 3 tokens");
    assert_eq!(message(7, 8).unwrap(), "evaluation: text: found 7, expected at least one window of 8 tokens");
}

#[test]
fn fewer_windows() {
    let mut windows = Windows::new(vec![0; 50], 10, None).unwrap();
    for (count, left) in [(9, 5), (3, 3), (0, 1)] {
        windows.truncate(count);
        assert_eq!(windows.count(), left);
    }
}

proptest! {
    #[test]
    fn every_position_is_played_once_and_in_order(
        n_ctx in 3usize..20,
        count in 1usize..6,
        rows in 1usize..80,
        most in 1usize..5,
        page_size in 1usize..9,
        all in any::<bool>(),
    ) {
        let protocol = if all { Protocol::Gptq } else { Protocol::LlamaCpp };
        let windows = Windows::new((0..(n_ctx * count) as u32).collect(), n_ctx, None).unwrap();
        let windows = windows.scored_by(protocol);
        let mut played = vec![0; count];
        let mut scored = Vec::new();
        for pass in windows.passes(rows, most) {
            let batch = windows.batch(&pass, page_size);
            prop_assert!(batch.tokens.len() <= rows && !batch.tokens.is_empty());
            prop_assert!(batch.sequences.len() <= most);
            for (window, sequence) in pass.windows.clone().zip(&batch.sequences) {
                for row in sequence.rows.clone() {
                    let position = batch.positions[row] as usize;
                    prop_assert_eq!(position, played[window]);
                    prop_assert_eq!(batch.tokens[row], windows.input(window, position));
                    prop_assert!(position / page_size < sequence.pages.len());
                    played[window] += 1;
                }
            }
            let outputs: Vec<(usize, usize)> = windows.outputs(&pass).collect();
            let rows: Vec<(usize, usize)> = batch.outputs.iter().map(|&row| {
                let inside = |sequence: &SequenceRows| sequence.rows.contains(&(row as usize));
                let slot = batch.sequences.iter().position(inside);
                (pass.windows.start + slot.unwrap(), batch.positions[row as usize] as usize)
            }).collect();
            prop_assert_eq!(&outputs, &rows);
            scored.extend(outputs);
        }
        prop_assert_eq!(played, vec![n_ctx - 1; count]);
        let all: Vec<(usize, usize)> =
            (0..count).flat_map(|window| windows.scored().map(move |position| (window, position))).collect();
        prop_assert_eq!(scored, all);
    }
}
