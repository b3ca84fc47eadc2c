//! Turns a sequence's events into text: whole characters, stop strings cut off.
//!
//! The pieces' concatenation depends on the tokens alone. Neither a stop token nor any part of a
//! stop string that was found is in it.

use marlin_text::{Detokenizer, StopStrings, Tokenizer};

use crate::{Error, Event, Finish, Logprobs};

/// The text of one sequence, piece by piece.
#[derive(Clone, Debug)]
pub struct TextStream {
    detokenizer: Detokenizer,
    stops: StopStrings,
}

/// An event with the text it completes.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Text that can be shown, often empty.
    pub text: String,
    /// The token generated, as in [`Event`].
    pub token: Option<u32>,
    /// The token's log-probabilities, as in [`Event`].
    pub logprobs: Option<Logprobs>,
    /// Why the sequence ended. With [`Finish::StopString`] the engine does not know yet: cancel it.
    pub finish: Option<Finish>,
}

impl TextStream {
    /// Decodes with `tokenizer`; `skip_special` leaves control tokens out. The text ends before the
    /// first of `stops`.
    ///
    /// # Errors
    /// [`Error::Text`] when a stop string is empty.
    pub fn new<S: AsRef<str>>(
        tokenizer: &Tokenizer,
        skip_special: bool,
        stops: &[S],
    ) -> Result<TextStream, Error> {
        let detokenizer = Detokenizer::new(tokenizer, skip_special);
        Ok(TextStream { detokenizer, stops: StopStrings::new(stops)? })
    }

    /// The text of the next event of the sequence.
    pub fn push(&mut self, event: Event) -> Piece {
        let Event { token, logprobs, mut finish, .. } = event;
        let shown = token.filter(|_| !matches!(finish, Some(Finish::StopToken(_))));
        let mut decoded = shown.map_or_else(String::new, |token| self.detokenizer.push(token));
        if finish.is_some() {
            decoded += &self.detokenizer.finish();
        }
        let mut text = self.stops.push(&decoded);
        if self.stops.stopped().is_some() {
            finish = Some(Finish::StopString);
        } else if finish.is_some() {
            text += &self.stops.finish();
        }
        Piece { text, token, logprobs, finish }
    }

    /// The index of the stop string that was found.
    pub fn stopped(&self) -> Option<usize> {
        self.stops.stopped()
    }
}
