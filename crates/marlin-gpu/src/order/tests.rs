//! Kernel order and its inverse: the same values as the disk order, for every format and odd shapes.

use half::{bf16, f16};
use marlin_format::scalar::{e2m1_to_twice, e4m3_to_f32, e5m2_to_f32, e8m0_to_half};
use marlin_format::{FORMATS, by_name};
use marlin_kernel::Random;

use super::*;

/// The plain inverse of kernel order: one code, one scale after another.
impl Order {
    /// Writes the values of a row (`out.len()` columns) from its bytes in kernel order: the inverse of
    /// the two above, to the same f32 as [`Weight::decode_row`].
    fn decode_row(
        self,
        codes: &[u8],
        scales: &[u8],
        (codebook, tensor_scale): (&[f32], f32),
        out: &mut [f32],
    ) {
        for (col, out) in out.iter_mut().enumerate() {
            let mut code = 0.0;
            if let Some(place) = self.place(codes, col) {
                code =
                    if self.sparse { self.code(&self.kept(codes), place) } else { self.code(codes, place) };
                if !codebook.is_empty() {
                    code = codebook[code as usize];
                }
            }
            let (scale, zero, offset) = self.scale(scales, col / self.group, tensor_scale);
            *out = if self.scales == Scales::None { code } else { scale * (code - zero) + offset };
        }
    }

    /// Which of the stored codes a column has, if any.
    fn place(self, codes: &[u8], col: usize) -> Option<usize> {
        if !self.sparse {
            return Some(col);
        }
        let (block, four) = (col / BLOCK, col % BLOCK / 4);
        let positions = &codes[(block + 1) * self.block_bytes() - 4..];
        let nibble = positions[four / 2] >> (4 * (four % 2));
        let kept =
            [nibble & 3, nibble >> 2 & 3].into_iter().position(|place| usize::from(place) == col % 4)?;
        Some(2 * (col / 4) + kept)
    }

    /// The codes of a sparse row without the positions.
    fn kept(self, codes: &[u8]) -> Vec<u8> {
        let bytes = self.block_bytes();
        codes.chunks(bytes).flat_map(|block| &block[..bytes - 4]).copied().collect()
    }

    /// The code of a column; of 4-bit floats twice the value, of lookup codes the index.
    fn code(self, codes: &[u8], col: usize) -> f32 {
        let half = || [codes[2 * col], codes[2 * col + 1]];
        let word = |at: usize| [codes[4 * at], codes[4 * at + 1], codes[4 * at + 2], codes[4 * at + 3]];
        // Place of a 4-bit code: word of 8 columns, half, code of the half.
        let (bits, half_of, k) = (|| u32::from_le_bytes(word(col / 8)), col % 2, col % 8 / 2);
        match self.codes {
            Codes::E2m1 => {
                let half = bits() >> (16 * half_of);
                let sign = half >> [15, 12, 14, 13][k] & 1;
                let magnitude = half >> (9 - 3 * k) & 7;
                f32::from(e2m1_to_twice((sign << 3 | magnitude) as u8))
            }
            Codes::U4 => (bits() >> (16 * half_of + 4 * k) & 15) as f32,
            Codes::U3 => {
                let low = word(3 * (col / 32) + col % 32 / 16);
                let (pair, high) = (col % 16 / 2, word(3 * (col / 32) + 2));
                let low = u32::from_le_bytes(low) >> (16 * half_of + 2 * pair) & 3;
                let high = u32::from_le_bytes(high) >> (16 * half_of + col % 32 / 2) & 1;
                (low | high << 2) as f32
            }
            Codes::L4 => f32::from(codes[col / 2] >> (4 * (col % 2)) & 15),
            Codes::L3 => {
                let bit = |at: usize| f32::from(codes[at / 8] >> (at % 8) & 1);
                bit(3 * col) + 2.0 * bit(3 * col + 1) + 4.0 * bit(3 * col + 2)
            }
            Codes::L2 => f32::from(codes[col / 4] >> (2 * (col % 4)) & 3),
            Codes::U2 => {
                let word = u32::from_le_bytes(word(col / 16));
                (word >> (16 * half_of + 2 * (col % 16 / 2)) & 3) as f32
            }
            Codes::S4 => (bits() >> (16 * half_of + 4 * k) & 15) as f32 - 8.0,
            Codes::S8 => f32::from(codes[col]) - 128.0,
            Codes::E4m3 => e4m3_to_f32(codes[col]),
            Codes::E5m2 => e5m2_to_f32(codes[col]),
            Codes::Bf16 => bf16::from_le_bytes(half()).to_f32(),
            Codes::F16 => f16::from_le_bytes(half()).to_f32(),
            Codes::F32 => f32::from_le_bytes(word(col)),
        }
    }

    /// Scale (of doubled 4-bit floats), zero point and offset of a group.
    fn scale(self, scales: &[u8], group: usize, tensor_scale: f32) -> (f32, f32, f32) {
        let bytes = &scales[group * self.scales.bytes()..][..self.scales.bytes()];
        let half = |at: usize| f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32();
        let single = |at: usize| f32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let doubled = if self.codes == Codes::E2m1 { 0.5 } else { 1.0 };
        match self.scales {
            Scales::None => (1.0, 0.0, 0.0),
            Scales::E4m3 => (e4m3_to_f32(bytes[0]) * (0.5 * tensor_scale), 0.0, 0.0),
            Scales::E8m0 => (e8m0_to_half(bytes[0]), 0.0, 0.0),
            Scales::F16 => (half(0) * doubled, 0.0, 0.0),
            Scales::F32 => (single(0), 0.0, 0.0),
            Scales::F16Zero => (half(0), f32::from(bytes[2]), 0.0),
            Scales::F32Offset => (single(0), 0.0, single(4)),
        }
    }
}

/// Columns: tails of words, blocks and groups; whole ones.
const COLS: [usize; 9] = [1, 7, 16, 31, 33, 96, 130, 256, 520];

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Codes and scales of a row, full of what was there before: every byte must be written.
fn buffers(order: Order, cols: usize) -> (Vec<u8>, Vec<u8>) {
    let (codes, scales) = order.row_bytes(cols);
    (vec![0xa5; codes], vec![0xa5; scales])
}

#[test]
fn every_row_comes_back_as_it_was() {
    for format in FORMATS {
        let order = Order::of(*format);
        for cols in COLS.map(|cols| cols.next_multiple_of(format.layout().cols_multiple())) {
            let weight = Random::new(cols as u64).weight(*format, 3, cols).unwrap();
            let (mut codes, mut scales) = buffers(order, cols);
            for row in 0..weight.rows() {
                order.codes_row(&weight, row, &mut codes);
                order.scales_row(&weight, row, &mut scales);
                let (mut found, mut expected) = (vec![0.0; cols], vec![0.0; cols]);
                let parts = weight.parts();
                order.decode_row(&codes, &scales, (&parts.codebook, parts.tensor_scale), &mut found);
                weight.decode_row(row, &mut expected);
                assert_eq!(found, expected, "{} row {row} of [3, {cols}]", format.name());
            }
        }
    }
}

#[test]
fn the_bytes_after_the_last_column_are_zero() {
    for format in FORMATS {
        let order = Order::of(*format);
        let cols = 40usize.next_multiple_of(format.layout().cols_multiple());
        let weight = Random::new(5).weight(*format, 1, cols).unwrap();
        let (mut codes, mut scales) = buffers(order, cols);
        order.codes_row(&weight, 0, &mut codes);
        order.scales_row(&weight, 0, &mut scales);
        if order.sparse {
            // The first byte of the last word has the positions of columns 32..40.
            let last = codes.len() - 4;
            assert!(codes[last + 1..].iter().all(|byte| *byte == 0), "{}: {codes:x?}", format.name());
        } else if order.codes == Codes::U3 {
            // The words of high bits are of whole blocks.
            assert!((cols..64).all(|col| order.code(&codes, col) == 0.0), "{}: {codes:x?}", format.name());
        } else {
            let used = (cols * order.codes.block_bytes()).div_ceil(8 * BLOCK) * 8;
            assert!(codes[used..].iter().all(|byte| *byte == 0), "{}: {codes:x?}", format.name());
        }
        let used = cols.div_ceil(order.group) * order.scales.bytes();
        assert!(scales[used..].iter().all(|byte| *byte == 0), "{}: {scales:x?}", format.name());
    }
}

#[test]
fn formats_keep_their_width() {
    let kinds = |name: &str| {
        let order = Order::of(by_name(name).unwrap());
        (order.codes, order.scales, order.group)
    };
    for (name, codes, scales, group) in [
        ("fp4", Codes::E2m1, Scales::E4m3, 16),
        ("fp4-g64", Codes::E2m1, Scales::F16, 64),
        ("mxfp4", Codes::E2m1, Scales::E8m0, 32),
        ("int4", Codes::U4, Scales::F16Zero, 128),
        ("int3", Codes::U3, Scales::F16Zero, 64),
        ("fp8-e4m3-g128", Codes::E4m3, Scales::F32, 128),
        ("fp8-e5m2", Codes::E5m2, Scales::F32, marlin_format::ROW),
        ("int8+sparse24", Codes::S8, Scales::F16, 128),
        ("nf4", Codes::L4, Scales::F16, 64),
        ("nf3", Codes::L3, Scales::F16, 64),
        ("nf2", Codes::L2, Scales::F16, 64),
        ("lut4-g32", Codes::L4, Scales::F32, 32),
        ("int2-g128", Codes::U2, Scales::F16Zero, 128),
        ("int4-sym-g32", Codes::S4, Scales::F16, 32),
        ("int8", Codes::S8, Scales::F16, 128),
        ("bf16", Codes::Bf16, Scales::None, 32),
        ("f16", Codes::F16, Scales::None, 32),
        ("f32", Codes::F32, Scales::None, 32),
        ("affine4-g64", Codes::U4, Scales::F32Offset, 64),
        ("affine8-g16", Codes::S8, Scales::F32Offset, 16),
        ("q4_0", Codes::S4, Scales::F16, 32),
        ("q4_1", Codes::U4, Scales::F32Offset, 32),
        ("q5_0", Codes::S8, Scales::F16, 32),
        ("q5_1", Codes::S8, Scales::F32Offset, 32),
        ("q8_0", Codes::S8, Scales::F16, 32),
        ("q2_k", Codes::U4, Scales::F32Offset, 16),
        ("q3_k", Codes::S4, Scales::F32Offset, 16),
        ("q4_k", Codes::U4, Scales::F32Offset, 32),
        ("q5_k", Codes::S8, Scales::F32Offset, 32),
        ("q6_k", Codes::S8, Scales::F32Offset, 16),
        ("mxfp4-gguf", Codes::E2m1, Scales::E8m0, 32),
        ("iq4_nl", Codes::S8, Scales::F16, 32),
        ("iq4_xs", Codes::S8, Scales::F32Offset, 32),
    ] {
        assert_eq!(kinds(name), (codes, scales, group), "{name}");
    }
}

#[test]
fn e2m1_words_are_halves_after_a_mask() {
    // The four ways `shader/format/e2m1.wgsl` reads a word.
    let read = |w: u32| {
        [
            w & 0x8e00_8e00,
            w << 3 & 0x8e00_8e00,
            w << 1 & 0x8000_8000 | w << 6 & 0x0e00_0e00,
            w << 2 & 0x8000_8000 | w << 9 & 0x0e00_0e00,
        ]
    };
    for seed in 0..1000u32 {
        let word = seed.wrapping_mul(0x9e37_79b9);
        let pairs = read(e2m1_word(word));
        for col in 0..8 {
            let half = f16::from_bits((pairs[col / 2] >> (16 * (col % 2))) as u16).to_f32() * 32768.0;
            let expected = e2m1_to_twice((word >> (4 * col) & 15) as u8);
            assert_eq!(half, f32::from(expected), "{word:08x} column {col}");
        }
    }
}

#[test]
fn a_tensor_scale_that_is_no_power_of_two_stays_exact() {
    let weight = Random::new(9).weight(by_name("fp4").unwrap(), 1, 48).unwrap();
    let order = Order::of(weight.format());
    let (mut codes, mut scales) = buffers(order, 48);
    order.codes_row(&weight, 0, &mut codes);
    order.scales_row(&weight, 0, &mut scales);
    let mut found = vec![0.0; 48];
    order.decode_row(&codes, &scales, (&[], 0.3), &mut found);
    let mut expected = vec![0.0; 48];
    weight.format().decode(Row { tensor_scale: 0.3, ..weight.row(0) }, &mut expected);
    assert_eq!(bits(&found), bits(&expected));
}
