//! Stop strings: generated text ends before the first of them.
//!
//! Text is emitted as soon as it can no longer be part of a stop string; no part of one is ever emitted
//! unless the text ends before the stop string is complete.

use crate::error::{Error, Result};
use crate::scan::Scanner;

/// Watches generated text for stop strings.
#[derive(Clone, Debug)]
pub struct StopStrings {
    scanner: Scanner,
    stopped: Option<usize>,
}

impl StopStrings {
    /// Stops at any of `stops`; with none, text passes unchanged.
    ///
    /// # Errors
    /// [`Error::EmptyStop`] for an empty string.
    pub fn new<S: AsRef<str>>(stops: &[S]) -> Result<Self> {
        if let Some(index) = stops.iter().position(|stop| stop.as_ref().is_empty()) {
            return Err(Error::EmptyStop { index });
        }
        Ok(Self { scanner: Scanner::new(stops), stopped: None })
    }

    /// Takes a piece of text and returns what may be shown. After a stop, nothing more is.
    ///
    /// The stop string that is complete first counts, and of several that end together the longest.
    pub fn push(&mut self, piece: &str) -> String {
        if self.stopped.is_some() {
            return String::new();
        }
        let scan = self.scanner.push(piece);
        self.stopped = scan.hit.map(|(index, _)| index);
        scan.text
    }

    /// Ends the text and returns what was held back.
    pub fn finish(&mut self) -> String {
        self.scanner.finish()
    }

    /// The index of the stop string that was found.
    pub fn stopped(&self) -> Option<usize> {
        self.stopped
    }
}
