//! GGUF's block formats in kernel order: taken apart, and put together as the narrowest kinds that hold
//! every weight of the format exactly.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use half::f16;
use marlin_format::scalar::{e2m1_from_twice, e2m1_to_twice, e8m0_to_half};
use marlin_format::{Format, Row, Unpacked, Weight};

use super::{Codes, Order, Scales};

/// Random blocks a format is judged by. Each holds at least 32 codes of at most 256 values, so that it is
/// out of the question (1e-50) that an extreme code never appears.
const SAMPLES: usize = 1024;

/// The kinds of codes and scales of a format.
pub(super) fn kinds(format: &dyn Format, values: usize, bytes: usize, group: usize) -> (Codes, Scales) {
    static KNOWN: Mutex<BTreeMap<&str, (Codes, Scales)>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    *known.entry(format.name()).or_insert_with(|| judge(format, values, bytes, group))
}

/// From what the format makes of blocks of random bytes.
fn judge(format: &dyn Format, values: usize, bytes: usize, group: usize) -> (Codes, Scales) {
    let cols = SAMPLES * values;
    let mut state = 1u32;
    let random: Vec<u8> = std::iter::repeat_with(|| {
        // Numerical Recipes' linear congruential generator.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(SAMPLES * bytes)
    .collect();
    let mut codes = vec![0i8; cols];
    let mut scales = vec![0.0f32; cols / group];
    let mut offsets = vec![0.0f32; cols / group];
    let row = Row { cols, ..Row::codes_only(&random) };
    let out = Unpacked { codes: &mut codes, scales: &mut scales, offsets: &mut offsets };
    format.unpack(row, out);
    let within = |low: i8, high: i8| codes.iter().all(|code| (low..=high).contains(code));
    let floats = || codes.iter().all(|&code| e2m1_to_twice(e2m1_from_twice(code) & 15) == code);
    let powers = || scales.iter().all(|&scale| scale > 0.0 && e8m0(scale).is_some());
    let halves = || scales.iter().all(|&scale| scale.is_nan() || f16::from_f32(scale).to_f32() == scale);
    let kind = match () {
        () if within(0, 15) => Codes::U4,
        () if within(-8, 7) => Codes::S4,
        () if within(-12, 12) && floats() && powers() => Codes::E2m1,
        () => Codes::S8,
    };
    let plain = offsets.iter().all(|&offset| offset == 0.0);
    match kind {
        Codes::E2m1 => (kind, Scales::E8m0),
        Codes::S4 | Codes::S8 if plain && halves() => (kind, Scales::F16),
        _ => (kind, Scales::F32Offset),
    }
}

/// The byte that [`marlin_format::scalar::e8m0_to_half`] reads as `scale`.
fn e8m0(scale: f32) -> Option<u8> {
    let bits = ((2.0 * scale).to_bits() >> 23) as u8;
    (e8m0_to_half(bits) == scale).then_some(bits)
}

/// A row taken apart.
fn unpack(order: Order, weight: &Weight, row: usize) -> (Vec<i8>, Vec<f32>, Vec<f32>) {
    let groups = weight.cols() / order.group;
    let mut codes = vec![0; weight.cols()];
    let (mut scales, mut offsets) = (vec![0.0; groups], vec![0.0; groups]);
    let out = Unpacked { codes: &mut codes, scales: &mut scales, offsets: &mut offsets };
    weight.unpack_row(row, out);
    (codes, scales, offsets)
}

/// [`Order::codes_row`] of a block format.
pub(super) fn codes_row(order: Order, weight: &Weight, row: usize, out: &mut [u8]) {
    let (codes, ..) = unpack(order, weight, row);
    let nibble = |code: i8| match order.codes {
        Codes::E2m1 => e2m1_from_twice(code) & 15,
        Codes::S4 => code.wrapping_add(8) as u8,
        _ => code as u8,
    };
    let packed: Vec<u8> = if order.codes == Codes::S8 {
        codes.iter().map(|&code| code as u8 ^ 0x80).collect()
    } else {
        debug_assert!(codes.iter().all(|&code| nibble(code) < 16), "{order:?}: a code beyond 4 bits");
        // Columns are a multiple of 32, so that whole words result.
        codes.as_chunks::<2>().0.iter().map(|&[low, high]| nibble(low) | nibble(high) << 4).collect()
    };
    order.write_codes(&packed, out);
}

/// [`Order::scales_row`] of a block format.
pub(super) fn scales_row(order: Order, weight: &Weight, row: usize, out: &mut [u8]) {
    let (_, scales, offsets) = unpack(order, weight, row);
    out.fill(0);
    for ((out, &scale), &offset) in out.chunks_exact_mut(order.scales.bytes()).zip(&scales).zip(&offsets) {
        match order.scales {
            Scales::E8m0 => out[0] = e8m0(scale).unwrap_or(0),
            Scales::F16 => out.copy_from_slice(&f16::from_f32(scale).to_le_bytes()),
            _ => {
                out[..4].copy_from_slice(&scale.to_le_bytes());
                out[4..].copy_from_slice(&offset.to_le_bytes());
            }
        }
    }
}
