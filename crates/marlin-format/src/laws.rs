//! What every format promises, as functions that tests run over [`FORMATS`](crate::FORMATS).
//!
//! Each takes a format and input of the caller's choosing, and says what it found when the law does
//! not hold. Laws about writing hold trivially for formats that are only read.

use crate::{
    Code, Error, Format, Layout, Parts, ROW, Rounding, Row, RowMut, ScaleSearch, ScaleType, Unpacked, Weight,
};

/// The law holds, or a sentence that says where it does not.
pub type Verdict = Result<(), String>;

/// Encodes one row, or several, with the tensor scale left to the format. `None` for formats that
/// are only read.
///
/// # Errors
/// Any other error of the encoder, as text.
fn written(
    format: &'static dyn Format,
    cols: usize,
    values: &[f32],
    how: Rounding<'_>,
) -> Result<Option<Weight>, String> {
    match Weight::encode(format, values.len() / cols.max(1), cols, values, how) {
        Ok(weight) => Ok(Some(weight)),
        Err(Error::ReadOnly { .. } | Error::Columns { .. }) => Ok(None),
        Err(error) => Err(format!("{}: {error}", format.name())),
    }
}

/// Encodes one row with a given codebook and tensor scale.
fn row_with(
    format: &'static dyn Format,
    values: &[f32],
    how: Rounding<'_>,
    (codebook, tensor_scale): (&[f32], f32),
) -> Result<Weight, String> {
    let (layout, cols) = (format.layout(), values.len());
    let mut codes = vec![0; layout.code_bytes(cols)];
    let mut scales = vec![0; layout.scale_bytes(cols)];
    let mut zeros = vec![0; layout.zero_bytes(cols)];
    let row =
        RowMut { cols, codes: &mut codes, scales: &mut scales, zeros: &mut zeros, codebook, tensor_scale };
    let text = |error: Error| format!("{}: {error}", format.name());
    format.encode(values, how, row).map_err(text)?;
    let (codes, scales, zeros) = (codes.into(), scales.into(), zeros.into());
    let parts = Parts { codes, scales, zeros, codebook: codebook.into(), tensor_scale };
    Weight::new(format, 1, cols, parts).map_err(text)
}

fn same(format: &dyn Format, law: &str, found: &[f32], expected: &[f32]) -> Verdict {
    let differ = |(found, expected): (&f32, &f32)| found.to_bits() != expected.to_bits();
    match found.iter().zip(expected).position(differ) {
        None => Ok(()),
        Some(at) => {
            let (name, found, expected) = (format.name(), found[at], expected[at]);
            Err(format!("{name}: {law}: value {at} is {found:e}, expected {expected:e}"))
        }
    }
}

/// The streams are as long as the layout says, and the layout's bits add up to them where nothing
/// is padded.
pub fn sizes(format: &'static dyn Format, rows: usize, cols: usize) -> Verdict {
    let Some(weight) = written(format, cols, &vec![0.0; rows * cols], Rounding::default())? else {
        return Ok(());
    };
    let (layout, parts) = (format.layout(), weight.parts());
    let row = [layout.code_bytes(cols), layout.scale_bytes(cols), layout.zero_bytes(cols)];
    let found = [parts.codes.len(), parts.scales.len(), parts.zeros.len()];
    if found != row.map(|bytes| rows * bytes) {
        return Err(format!("{}: [{rows}, {cols}] has {found:?} bytes, a row {row:?}", format.name()));
    }
    let (group, zero_padding) = match layout {
        // Zero points are a byte in memory and a code on disk.
        // The scale of a whole row is not counted.
        Layout::Grouped { group: ROW, .. } => return Ok(()),
        Layout::Grouped { code, group, zero: true, .. } => (group, 1.0 - code.bits() as f64 / 8.0),
        _ => (layout.group().max(1), 0.0),
    };
    let expected =
        rows as f64 * (cols as f64 * layout.bits_per_weight() / 8.0 + (cols / group) as f64 * zero_padding);
    // Positions fill whole words of 32 columns.
    let whole = if is_sparse(format) { 32 } else { 8 };
    if cols.is_multiple_of(group.max(whole)) && weight.len_bytes() as f64 != expected {
        return Err(format!(
            "{}: [{rows}, {cols}] has {} bytes, bits say {expected}",
            format.name(),
            weight.len_bytes()
        ));
    }
    Ok(())
}

/// Decoding is `scale * code + offset` in f32, each operation rounded.
pub fn decodes_as_unpacked(weight: &Weight) -> Verdict {
    let (cols, groups) = (weight.cols(), weight.layout().groups(weight.cols()));
    let (mut codes, mut scales, mut offsets) =
        (vec![0; cols], vec![f32::NAN; groups], vec![f32::NAN; groups]);
    let mut decoded = vec![0.0; cols];
    for row in 0..weight.rows() {
        let out = Unpacked { codes: &mut codes, scales: &mut scales, offsets: &mut offsets };
        if !weight.unpack_row(row, out) {
            return Ok(());
        }
        weight.decode_row(row, &mut decoded);
        let group = weight.layout().group();
        let value = |k: usize| scales[k / group] * f32::from(codes[k]) + offsets[k / group];
        let expected: Vec<f32> = (0..cols).map(value).collect();
        same(weight.format(), "decoding is not scale * code + offset", &decoded, &expected)?;
    }
    Ok(())
}

/// Values that the row can represent come back bit by bit when encoded with its tensor scale.
pub fn representable_comes_back(weight: &Weight) -> Verdict {
    let mut values = vec![0.0; weight.cols()];
    for row in 0..weight.rows() {
        weight.decode_row(row, &mut values);
        let (format, parts) = (weight.format(), weight.parts());
        let again = row_with(format, &values, Rounding::default(), (&parts.codebook, parts.tensor_scale))?;
        same(weight.format(), "encoding a decoded row changes it", &again.to_f32(), &values)?;
    }
    Ok(())
}

/// The levels of a row's groups are what its codes decode to: what the row holds are levels, and any
/// `values` (length `cols`) rounded to levels are assigned to codes that decode to them. None of the
/// values that a group holds is nearer than the level chosen.
pub fn levels_decode(weight: &Weight, values: &[f32]) -> Verdict {
    let (format, layout, cols) = (weight.format(), weight.layout(), weight.cols());
    if is_sparse(format) {
        // Only two of four levels can be assigned: `tests/format/sparse.rs` does.
        return Ok(());
    }
    for row in 0..weight.rows() {
        let row = weight.row(row);
        let level = |k: usize| format.levels(row, k / layout.group().max(1));
        if level(0).is_none() {
            return Ok(());
        }
        let nearest = |values: &[f32]| -> Vec<f32> {
            let round = |(k, value): (usize, &f32)| level(k).map_or(f32::NAN, |level| level.nearest(*value));
            values.iter().enumerate().map(round).collect()
        };
        let mut held = vec![0.0; cols];
        format.decode(row, &mut held);
        same(format, "a decoded value is not a level", &nearest(&held), &held)?;

        let rounded = nearest(values);
        for (g, group) in rounded.chunks(layout.group()).enumerate() {
            let start = g * layout.group();
            for (k, level) in (start..).zip(group) {
                let miss = (level - values[k]).abs();
                let nearer = |held: &&f32| (**held - values[k]).abs() < miss * (1.0 - 1e-6);
                if let Some(held) = held[start..][..group.len()].iter().find(nearer) {
                    return Err(format!("{}: {} rounds to {level}, not {held}", format.name(), values[k]));
                }
            }
        }
        let (mut codes, mut scales, mut zeros) =
            (vec![0; row.codes.len()], row.scales.to_vec(), row.zeros.to_vec());
        let Row { codebook, tensor_scale, .. } = row;
        let (codes, scales, zeros) = (&mut codes, &mut scales, &mut zeros);
        let mut out = RowMut { cols, codes, scales, zeros, codebook, tensor_scale };
        format.assign(&rounded, out.reborrow()).map_err(|error| format!("{}: {error}", format.name()))?;
        format.decode(out.as_row(), &mut held);
        same(format, "assigned levels do not come back", &held, &rounded)?;
    }
    Ok(())
}

/// Encoded once, encoding again changes nothing.
pub fn idempotent(format: &'static dyn Format, cols: usize, values: &[f32]) -> Verdict {
    written(format, cols, values, Rounding::default())?
        .map_or(Ok(()), |weight| representable_comes_back(&weight))
}

/// Within a group, a larger value never decodes to a smaller one, unless it is left out.
pub fn keeps_order(format: &'static dyn Format, cols: usize, values: &[f32], how: Rounding<'_>) -> Verdict {
    let Some(weight) = written(format, cols, values, how)? else { return Ok(()) };
    let sparse = is_sparse(format);
    let group = format.layout().group().max(1);
    for (row, decoded) in values.chunks(cols).zip(weight.to_f32().chunks(cols)) {
        for (values, decoded) in row.chunks(group).zip(decoded.chunks(group)) {
            let left_out = |pair: &(&f32, &f32)| sparse && *pair.1 == 0.0;
            let mut pairs: Vec<_> = values.iter().zip(decoded).filter(|pair| !left_out(pair)).collect();
            pairs.sort_by(|a, b| a.0.total_cmp(b.0));
            if let Some(pair) = pairs.windows(2).find(|pair| pair[0].1 > pair[1].1 && pair[0].0 < pair[1].0) {
                return Err(format!("{}: order of {pair:?} is lost", format.name()));
            }
        }
    }
    Ok(())
}

/// Formats whose codes have both signs: negated values decode to negated values.
pub fn odd(format: &'static dyn Format, cols: usize, values: &[f32], how: Rounding<'_>) -> Verdict {
    let layout = format.layout();
    if matches!(layout, Layout::Grouped { zero: true, .. }) || layout.codebook_len() > 0 {
        return Ok(());
    }
    let negated: Vec<f32> = values.iter().map(|value| -value).collect();
    let (Some(weight), Some(mirror)) =
        (written(format, cols, values, how)?, written(format, cols, &negated, how)?)
    else {
        return Ok(());
    };
    // Adding 0 makes one zero of the two.
    let expected: Vec<f32> = weight.to_f32().iter().map(|value| 0.0 - value).collect();
    let found: Vec<f32> = mirror.to_f32().iter().map(|value| value + 0.0).collect();
    same(format, "negated values do not decode to negated values", &found, &expected)
}

/// Values times a power of two decode to that multiple, as long as nothing leaves the range of the
/// scales (the caller's care).
pub fn homogeneous(
    format: &'static dyn Format,
    cols: usize,
    values: &[f32],
    factor: f32,
    how: Rounding<'_>,
) -> Verdict {
    let scaled: Vec<f32> = values.iter().map(|value| value * factor).collect();
    let (Some(weight), Some(larger)) =
        (written(format, cols, values, how)?, written(format, cols, &scaled, how)?)
    else {
        return Ok(());
    };
    let expected: Vec<f32> = weight.to_f32().iter().map(|value| value * factor).collect();
    same(format, "scaled values do not decode to scaled values", &larger.to_f32(), &expected)
}

/// A group decodes to what it would decode to alone, the short last one included.
pub fn groups_are_independent(format: &'static dyn Format, values: &[f32], how: Rounding<'_>) -> Verdict {
    let Some(weight) = written(format, values.len(), values, Rounding { importance: None, ..how })? else {
        return Ok(());
    };
    let (group, scale) = (format.layout().group().max(1), weight.parts().tensor_scale);
    let how = Rounding { importance: None, ..how };
    let alone: Result<Vec<_>, _> = values
        .chunks(group)
        .map(|values| row_with(format, values, how, (format.codebook(), scale)).map(|weight| weight.to_f32()))
        .collect();
    same(format, "a group depends on its neighbours", &weight.to_f32(), &alone?.concat())
}

/// With [`ScaleSearch::Absmax`] no value is off by more than the format's largest half step (or
/// what its scale clips), as a share of the largest magnitude of its group, and what is lost where
/// the scale is too small to store.
pub fn error_is_bounded(format: &'static dyn Format, cols: usize, values: &[f32]) -> Verdict {
    let how = Rounding { search: ScaleSearch::Absmax, importance: None };
    let Some(weight) = written(format, cols, values, how)? else { return Ok(()) };
    let (share, floor) = largest_error(format, weight.parts().tensor_scale);
    let group = format.layout().group().max(1);
    for (row, decoded) in values.chunks(cols).zip(weight.to_f32().chunks(cols)) {
        for (values, decoded) in row.chunks(group).zip(decoded.chunks(group)) {
            let absmax = values.iter().fold(0.0f32, |max, value| max.max(value.abs()));
            let mut pairs = values.iter().zip(decoded);
            // NaN must not pass.
            let near = |(value, decoded): (&f32, &f32)| (value - decoded).abs() <= share * absmax + floor;
            if let Some((value, decoded)) = pairs.find(|&pair| !near(pair)) {
                return Err(format!(
                    "{}: {value:e} decodes to {decoded:e}, group maximum {absmax:e}",
                    format.name()
                ));
            }
        }
    }
    Ok(())
}

fn is_sparse(format: &dyn Format) -> bool {
    matches!(format.layout(), Layout::Grouped { sparse: true, .. })
}

/// The largest error of a value: a share of its group's maximum, and a constant.
fn largest_error(format: &dyn Format, tensor_scale: f32) -> (f32, f32) {
    if is_sparse(format) {
        // Half of the columns are left out: `tests/format/sparse.rs` says which.
        return (1.0, f32::MAX);
    }
    if format.layout().codebook_len() > 0 {
        return codebook_error(format);
    }
    // Of f16's subnormals.
    let half_step = 2f32.powi(-25);
    let scale_rounding = 1.0 / 1024.0;
    match format.layout() {
        Layout::Dense { bytes: 4 } => (0.0, 0.0),
        Layout::Dense { .. } => {
            (1.0 / 256.0, if format.name() == "f16" { half_step } else { f32::MIN_POSITIVE })
        }
        Layout::Grouped { code: Code::E2m1, scale, .. } => match scale {
            // Half the step between 4 and 6, and the scale's own rounding on 6.
            ScaleType::F16 | ScaleType::F32 => (1.0 / 6.0 + scale_rounding, 6.0 * half_step),
            ScaleType::E4m3 => (1.0 / 6.0 + 1.0 / 16.0, 6.0 / 1024.0 * tensor_scale),
            // Values up to 8 units become 6.
            ScaleType::E8m0 => (2.0 / 8.0, f32::MIN_POSITIVE),
        },
        // A range of two maxima in as many steps as the largest code; half a step for the code, half for
        // the zero point.
        Layout::Grouped { code: code @ (Code::Uint4 | Code::Uint3 | Code::Uint2), .. } => {
            let most = f32::from(code.max_zero() - 1);
            (2.0 / most + scale_rounding, most * half_step)
        }
        // The opposite extreme is clipped by a whole step.
        Layout::Grouped { code: Code::Int4, .. } => (1.0 / 8.0 + scale_rounding, 8.0 * half_step),
        Layout::Grouped { code: Code::Int8, .. } => (1.0 / 128.0 + scale_rounding, 128.0 * half_step),
        // Half a step of the significand.
        Layout::Grouped { code: Code::E4m3, .. } => (1.0 / 16.0, 2f32.powi(-100)),
        Layout::Grouped { code: Code::E5m2, .. } => (1.0 / 8.0, 2f32.powi(-100)),
        Layout::Grouped { .. } | Layout::Affine { .. } | Layout::Blocks { .. } => (f32::INFINITY, 0.0),
    }
}

/// The largest error of a value that is rounded to the format's codebook.
fn codebook_error(format: &dyn Format) -> (f32, f32) {
    let mut values = format.codebook().to_vec();
    values.sort_by(f32::total_cmp);
    let magnitude = values.iter().fold(0.0f32, |max, value| max.max(value.abs()));
    // Half a gap, or what the shorter side clips.
    let gaps = values.windows(2).map(|pair| 0.5 * (pair[1] - pair[0]));
    let clipped = magnitude - values[values.len() - 1].min(-values[0]);
    let share = gaps.fold(clipped, f32::max) / magnitude + 1.0 / 1024.0;
    let half_step = match format.layout() {
        Layout::Grouped { scale: ScaleType::F32, .. } => 2f32.powi(-100),
        _ => 2f32.powi(-25),
    };
    (share, magnitude * half_step)
}

/// Searching never makes the (weighted) squared error of a group larger, up to rounding.
pub fn search_never_hurts(
    format: &'static dyn Format,
    values: &[f32],
    importance: Option<&[f32]>,
) -> Verdict {
    let how = |search| Rounding { search, importance };
    let cols = values.len();
    let (Some(absmax), Some(grid)) = (
        written(format, cols, values, how(ScaleSearch::Absmax))?,
        written(format, cols, values, how(ScaleSearch::Grid))?,
    ) else {
        return Ok(());
    };
    let group = format.layout().group().max(1);
    let errors = |weight: Weight| -> Vec<f64> {
        let decoded = weight.to_f32();
        let error = |k: usize| {
            let miss = f64::from(values[k]) - f64::from(decoded[k]);
            miss * miss * importance.map_or(1.0, |weights| f64::from(weights[k]))
        };
        (0..cols).step_by(group).map(|start| (start..cols.min(start + group)).map(error).sum()).collect()
    };
    for (g, (absmax, grid)) in errors(absmax).iter().zip(errors(grid)).enumerate() {
        let squares: f64 =
            values[g * group..].iter().take(group).map(|&value| f64::from(value).powi(2)).sum();
        let no_worse = grid <= absmax * (1.0 + 1e-4) + squares * 1e-10;
        if !no_worse {
            return Err(format!("{}: group {g}: search {grid:e}, absmax {absmax:e}", format.name()));
        }
    }
    Ok(())
}
