//! Agreement as an assertion, with known exceptions as rows that must stay true.

use marlin_kernel::{CaseResult, Precision, check_player};

use crate::Make;

/// A case a player is known not to pass.
#[derive(Clone, Copy, Debug)]
pub struct Exception {
    /// The kernel's name.
    pub kernel: &'static str,
    /// Part of the case's name; empty for all cases.
    pub case: &'static str,
    /// Why, and what would end it.
    pub reason: &'static str,
}

impl Exception {
    fn covers(&self, result: &CaseResult) -> bool {
        self.kernel == result.kernel && result.case.contains(self.case)
    }
}

/// Compares the players made by `make` with the reference on every case of every kernel.
///
/// Panics with the first case that does not agree, its numbers and how many more there are; or with
/// an exception that no failing case needs.
pub fn agree(make: &Make<'_>, precision: Precision, exceptions: &[Exception]) {
    let results = check_player(make, precision, "");
    let failed: Vec<&CaseResult> = results.iter().filter(|result| result.outcome.is_err()).collect();
    let unexpected: Vec<_> =
        failed.iter().filter(|result| !exceptions.iter().any(|exception| exception.covers(result))).collect();
    if let Some(first) = unexpected.first() {
        panic!("{first} ({} of {} cases do not agree)", unexpected.len(), results.len());
    }
    for exception in exceptions {
        let needed = failed.iter().any(|result| exception.covers(result));
        assert!(needed, "{exception:?}: every such case agrees, expected a failure");
    }
}
