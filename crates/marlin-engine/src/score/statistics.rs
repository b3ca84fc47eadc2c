//! Means with their standard errors, and quantiles.

/// A number with its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// One standard error; 0 for fewer than two samples.
    pub error: f64,
}

impl Estimate {
    /// Mean of `values` and `sqrt((mean(x^2) - mean(x)^2) / (n - 1))`; NaN for no values.
    pub fn mean(values: impl Iterator<Item = f64> + Clone) -> Estimate {
        let count = values.clone().count();
        let mean = values.clone().sum::<f64>() / count as f64;
        // The same as mean(x^2) - mean(x)^2, without the cancellation.
        let variance = values.map(|value| (value - mean).powi(2)).sum::<f64>() / count as f64;
        Estimate { value: mean, error: if count > 1 { (variance / (count - 1) as f64).sqrt() } else { 0.0 } }
    }

    /// The exponential, with the error carried to first order.
    pub fn exp(self) -> Estimate {
        let value = self.value.exp();
        Estimate { value, error: value * self.error }
    }

    /// The square root, with the error carried to first order; none at 0.
    pub fn sqrt(self) -> Estimate {
        let value = self.value.sqrt();
        Estimate { value, error: if value > 0.0 { 0.5 / value * self.error } else { 0.0 } }
    }
}

/// The value below which a share `at` (0 to 1) of `sorted` lies, interpolated between neighbours
/// (numpy's and llama.cpp's definition); NaN for no values.
pub fn quantile(sorted: &[f64], at: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = at.clamp(0.0, 1.0) * last as f64;
    let (below, share) = (place.floor() as usize, place.fract());
    match share > 0.0 {
        true => sorted[below] * (1.0 - share) + sorted[below + 1] * share,
        false => sorted[below],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_error_by_hand() {
        let estimate = Estimate::mean([1.0, 2.0, 3.0, 6.0].into_iter());
        assert_eq!(estimate.value, 3.0);
        // mean(x^2) - 9 = 12.5 - 9 = 3.5, over 3.
        assert!((estimate.error - (3.5f64 / 3.0).sqrt()).abs() < 1e-15);
        assert_eq!(Estimate::mean([7.0].into_iter()), Estimate { value: 7.0, error: 0.0 });
        assert!(Estimate::mean([].into_iter()).value.is_nan());
    }

    #[test]
    fn quantiles_interpolate() {
        let sorted = [1.0, 2.0, 4.0, 8.0];
        assert_eq!(quantile(&sorted, 0.0), 1.0);
        assert_eq!(quantile(&sorted, 0.5), 3.0);
        assert_eq!(quantile(&sorted, 1.0), 8.0);
        assert!((quantile(&sorted, 0.9) - 6.8).abs() < 1e-12);
        assert_eq!(quantile(&[5.0], 0.999), 5.0);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
