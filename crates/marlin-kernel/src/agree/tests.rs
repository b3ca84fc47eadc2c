//! The harness agrees with the truth itself.

use super::check_player;
use crate::{KERNELS, Precision, ReferencePlayer};

#[test]
fn the_reference_agrees_with_itself_exactly_in_every_case() {
    let make = |plan, page_size, pages| -> Result<Box<dyn crate::Player>, _> {
        Ok(Box::new(ReferencePlayer::new(plan, page_size, pages)?))
    };
    let results = check_player(make, Precision::Exact, "");
    assert_eq!(results.len(), KERNELS.iter().map(|kernel| (kernel.cases)().len()).sum::<usize>());
    for result in &results {
        let deviation = result.outcome.as_ref().unwrap_or_else(|_| panic!("{result}"));
        assert_eq!((deviation.relative, deviation.peak), (0.0, 0.0), "{result}");
    }
    let filtered = check_player(make, Precision::Exact, "moe_route, softmax");
    assert!(!filtered.is_empty() && filtered.iter().all(|result| result.kernel == "moe_route"));
}
