//! Activation order: which group each input belongs to, and the columns sorted by it.

use super::Stored;
use crate::Error;

/// The columns sorted by group, in the order of the model within one; `None` if that is their order
/// already. `index` is the group of each column, `suffix` the tensor it was read from. Every group but the
/// last has `group` columns, or the scales could not lie one after the other.
///
/// # Errors
/// [`Error::Weight`] for a group that is none, or has too many columns or too few.
pub(super) fn by_group(
    stored: &Stored<'_>,
    suffix: &str,
    index: &[i32],
    (group, groups): (usize, usize),
) -> Result<Option<Vec<u32>>, Error> {
    let known = |g: &i32| usize::try_from(*g).is_ok_and(|g| g < groups);
    if let Some(at) = index.iter().position(|g| !known(g)) {
        let found = format!("group {} of input {at}", index[at]);
        return Err(stored.error(suffix, found, format!("0 to {}", groups - 1)));
    }
    let mut order: Vec<u32> = (0..index.len() as u32).collect();
    order.sort_by_key(|&col| index[col as usize]);
    let misplaced = |(at, &col): (usize, &u32)| index[col as usize] as usize != at / group;
    if let Some((at, _)) = order.iter().enumerate().find(|pair| misplaced(*pair)) {
        let wanted = at / group;
        let inputs = index.iter().filter(|g| **g as usize == wanted).count();
        let size = group.min(index.len() - wanted * group);
        return Err(stored.error(suffix, format!("{inputs} inputs of group {wanted}"), size.to_string()));
    }
    let sorted = order.iter().enumerate().all(|(at, &col)| at == col as usize);
    Ok((!sorted).then_some(order))
}
