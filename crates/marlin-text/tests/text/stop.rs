//! Stop strings: cut exactly, nothing held longer than needed, however the text is cut into pieces.

use marlin_text::{Error, StopStrings};
use proptest::prelude::*;

/// What is shown of a text given in pieces, and which stop was found.
fn show(stops: &[&str], pieces: &[&str]) -> (Vec<String>, Option<usize>) {
    let mut watcher = StopStrings::new(stops).expect("no empty stop");
    let mut shown: Vec<String> = pieces.iter().map(|piece| watcher.push(piece)).collect();
    shown.push(watcher.finish());
    (shown, watcher.stopped())
}

#[test]
fn a_stop_split_over_pieces_is_cut() {
    let (shown, stopped) = show(&["</s>"], &["Hi", "<", "/s", "> more", "!"]);
    assert_eq!(shown, ["Hi", "", "", "", "", ""]);
    assert_eq!(stopped, Some(0));
}

#[test]
fn what_cannot_become_a_stop_is_shown_at_once() {
    let (shown, stopped) = show(&["STOP"], &["ST", "ATE", " S", "TO", "NE ST"]);
    assert_eq!(shown, ["", "STATE", " ", "", "STONE ", "ST"]);
    assert_eq!(stopped, None);
}

#[test]
fn overlapping_beginnings() {
    assert_eq!(show(&["aab"], &["a", "a", "a", "b"]).0.concat(), "a");
    assert_eq!(show(&["\n\nUser:"], &["x\n", "\n", "\nUser:"]).0.concat(), "x\n");
    assert_eq!(show(&["abab!"], &["ababab!", "x"]).0.concat(), "ab");
}

#[test]
fn the_stop_that_is_complete_first_counts_then_the_longest() {
    assert_eq!(show(&["xaby", "ab"], &["1xaby"]), (vec!["1x".to_owned(), String::new()], Some(1)));
    assert_eq!(show(&["b", "ab"], &["1ab"]), (vec!["1".to_owned(), String::new()], Some(1)));
    assert_eq!(show(&["ab", "abc"], &["abc"]).1, Some(0));
}

#[test]
fn characters_of_several_bytes() {
    let (shown, stopped) = show(&["é。"], &["è", "é", "é。"]);
    assert_eq!((shown.concat().as_str(), stopped), ("èé", Some(0)));
}

#[test]
fn no_stops_and_empty_stops() {
    let (shown, stopped) = show(&[], &["a", "", "b"]);
    assert_eq!((shown.concat().as_str(), stopped), ("ab", None));
    let error = StopStrings::new(&["ok", ""]).expect_err("an empty stop");
    assert!(matches!(error, Error::EmptyStop { index: 1 }));
}

/// Where the first stop ends, and its start: the definition, without streaming.
fn naive(stops: &[String], text: &str) -> Option<(usize, usize)> {
    let ends = (1..=text.len()).filter(|&end| text.is_char_boundary(end));
    let mut at_end = ends.flat_map(|end| {
        let matching = stops.iter().enumerate().filter(move |(_, stop)| text[..end].ends_with(stop.as_str()));
        matching.max_by_key(|(_, stop)| stop.len()).map(|(index, stop)| (end - stop.len(), index))
    });
    at_end.next()
}

/// Length of the longest end of `text` that is a beginning, but not the whole, of a stop.
fn longest_beginning(stops: &[String], text: &str) -> usize {
    let beginnings = stops.iter().flat_map(|stop| stop.char_indices().map(move |(len, _)| &stop[..len]));
    beginnings.filter(|beginning| text.ends_with(beginning)).map(str::len).max().unwrap_or(0)
}

proptest! {
    #[test]
    fn as_defined_for_every_cut(
        stops in proptest::collection::vec("[ab。]{1,5}", 0..4),
        pieces in proptest::collection::vec("[ab。c]{0,6}", 0..12),
    ) {
        let text = pieces.concat();
        let mut watcher = StopStrings::new(&stops).expect("no empty stop");
        let (mut shown, mut given) = (String::new(), 0);
        for piece in &pieces {
            shown.push_str(&watcher.push(piece));
            given += piece.len();
            if watcher.stopped().is_none() {
                prop_assert_eq!(shown.len() + longest_beginning(&stops, &text[..given]), given);
            }
        }
        shown.push_str(&watcher.finish());
        match naive(&stops, &text) {
            Some((start, index)) => {
                prop_assert_eq!(&shown, &text[..start]);
                let found = watcher.stopped().map(|found| &stops[found]);
                prop_assert_eq!(found, Some(&stops[index]));
            }
            None => {
                prop_assert_eq!(&shown, &text);
                prop_assert_eq!(watcher.stopped(), None);
            }
        }
    }
}
