//! The same values under other scales: one tensor scale for several weights, shorter groups.

use crate::scalar::{e4m3_from_f32, e4m3_to_f32};
use crate::{FORMATS, Layout, Parts, ScaleType, Weight};

/// `weights` with the largest of their tensor scales as the one of all, their group scales less by as
/// much. `None` if a group scale cannot be, or the scales are not E4M3.
pub fn common_scale(weights: &[Weight]) -> Option<Vec<Weight>> {
    let scale = weights.iter().map(|weight| weight.parts().tensor_scale).fold(0.0, f32::max);
    weights.iter().map(|weight| rescaled(weight, scale)).collect()
}

/// `weight` with another tensor scale, every value kept; as [`common_scale`].
pub fn rescaled(weight: &Weight, tensor_scale: f32) -> Option<Weight> {
    let parts = weight.parts();
    if parts.tensor_scale == tensor_scale {
        return Some(weight.clone());
    }
    if !matches!(weight.layout(), Layout::Grouped { scale: ScaleType::E4m3, .. }) {
        return None;
    }
    // The tensor scales of two encoders are powers of two mostly; any other quotient must be exact too.
    let ratio = parts.tensor_scale / tensor_scale;
    if ratio * tensor_scale != parts.tensor_scale {
        return None;
    }
    let moved = |&bits: &u8| {
        let value = e4m3_to_f32(bits) * ratio;
        let bits = e4m3_from_f32(value);
        (e4m3_to_f32(bits) == value).then_some(bits)
    };
    let scales: Vec<u8> = parts.scales.iter().map(moved).collect::<Option<_>>()?;
    let parts = Parts { scales: scales.into(), tensor_scale, ..parts.clone() };
    Weight::new(weight.format(), weight.rows(), weight.cols(), parts).ok()
}

/// `weight` in the format that differs in its groups of `group` columns only: each has the scale and zero
/// point of the longer one that it was part of. `None` if there is none, or groups do not divide.
pub fn regrouped(weight: &Weight, group: usize) -> Option<Weight> {
    let Layout::Grouped { code, group: long, scale, zero, tensor_scale, sparse } = weight.layout() else {
        return None;
    };
    let wanted = Layout::Grouped { code, group, scale, zero, tensor_scale, sparse };
    let format = FORMATS.iter().copied().find(|format| format.layout() == wanted)?;
    if !long.is_multiple_of(group) || weight.cols() == 0 {
        return None;
    }
    let (rows, cols) = (weight.rows(), weight.cols());
    let spread = |stream: &[u8], bytes: usize| -> Vec<u8> {
        let row = |row: &[u8]| {
            let of_group = |at: usize| row[at * group / long * bytes..][..bytes].to_vec();
            (0..cols.div_ceil(group)).flat_map(of_group).collect::<Vec<u8>>()
        };
        stream.chunks_exact(cols.div_ceil(long) * bytes).flat_map(row).collect()
    };
    let parts = weight.parts();
    let scales = spread(&parts.scales, scale.bytes()).into();
    let zeros = if zero { spread(&parts.zeros, 1).into() } else { parts.zeros.clone() };
    Weight::new(format, rows, cols, Parts { scales, zeros, ..parts.clone() }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Rounding, by_name};

    #[test]
    fn siblings_share_a_scale_where_every_value_stays() {
        let fp4 = by_name("fp4").unwrap();
        let values = |size: f32| (0..64).map(|i| (i as f32 - 31.0) * size).collect::<Vec<f32>>();
        let weight = |size| Weight::encode(fp4, 1, 64, &values(size), Rounding::default()).unwrap();
        let (small, large) = (weight(0.01), weight(0.08));
        assert_ne!(small.parts().tensor_scale, large.parts().tensor_scale);
        let shared = common_scale(&[small.clone(), large.clone()]).unwrap();
        assert_eq!(shared[0].parts().tensor_scale, large.parts().tensor_scale);
        assert_eq!(shared[0].to_f32(), small.to_f32());
        assert_eq!(shared[1].to_f32(), large.to_f32());
        // Far apart the small one's scales would fall below the steps of E4M3.
        assert!(common_scale(&[weight(1e-7), weight(10.0)]).is_none());
    }

    #[test]
    fn shorter_groups_keep_every_value() {
        for (from, group, to) in
            [("int4", 32, "int4-g32"), ("int8", 64, "int8-g64"), ("int3", 32, "int3-g32")]
        {
            let values: Vec<f32> = (0..3 * 160).map(|i| (i * 37 % 101) as f32 / 50.0 - 0.8).collect();
            let weight =
                Weight::encode(by_name(from).unwrap(), 3, 160, &values, Rounding::default()).unwrap();
            let short = regrouped(&weight, group).unwrap();
            assert_eq!((short.format().name(), short.to_f32()), (to, weight.to_f32()));
            assert!(regrouped(&short, 128).is_none());
        }
        let fp8 =
            Weight::encode(by_name("fp8-e5m2").unwrap(), 1, 32, &[1.0; 32], Rounding::default()).unwrap();
        assert!(regrouped(&fp8, 32).is_none());
    }
}
