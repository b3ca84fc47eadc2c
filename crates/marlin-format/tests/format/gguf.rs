//! GGUF's block formats against gguf-py's dequantizers (goldens/gguf.txt) and against the tables of
//! where each bit is, value by value.

use crate::random::Random;
use half::f16;
use marlin_format::{Error, FORMATS, Format, Layout, Parts, Rounding, Weight, by_name, import, laws};

const GOLDENS: &str = include_str!("goldens/gguf.txt");

fn block_formats() -> impl Iterator<Item = (&'static dyn Format, usize, usize)> {
    FORMATS.iter().filter_map(|format| match format.layout() {
        Layout::Blocks { values, bytes, .. } => Some((*format, values, bytes)),
        _ => None,
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn weight(format: &'static dyn Format, rows: usize, cols: usize, bytes: Vec<u8>) -> Weight {
    Weight::new(format, rows, cols, Parts::codes_only(bytes.into())).unwrap()
}

/// Random bytes, with floats that are finite.
fn random_blocks(format: &dyn Format, bytes: usize, count: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut all: Vec<u8> = (0..bytes * count).map(|_| random.bits() as u8).collect();
    for block in all.chunks_mut(bytes) {
        for &at in half_offsets(format.name()) {
            let value = f16::from_f32(random.uniform() as f32 - 0.5);
            block[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        if format.name() == "mxfp4-gguf" {
            block[0] %= 253;
        }
    }
    all
}

fn half_offsets(name: &str) -> &'static [usize] {
    match name {
        "q4_0" | "q5_0" | "q8_0" | "iq4_nl" | "iq4_xs" => &[0],
        "q4_1" | "q5_1" | "q4_k" | "q5_k" => &[0, 2],
        "q2_k" => &[80, 82],
        "q3_k" => &[108],
        "q6_k" => &[208],
        _ => &[],
    }
}

#[test]
fn values_are_those_of_gguf_py() {
    let mut seen = Vec::new();
    for line in GOLDENS.lines() {
        let [name, block, values] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let expected: Vec<f32> =
            unhex(values).chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
        let found = weight(by_name(name).unwrap(), 1, expected.len(), unhex(block)).to_f32();
        assert_eq!(found, expected, "{name}");
        seen.push(name);
    }
    for (format, ..) in block_formats() {
        assert!(seen.contains(&format.name()), "no golden for {}", format.name());
    }
}

/// Value `i` of a block of 256, from the tables alone.
fn k_quant(name: &str, b: &[u8], i: usize) -> f32 {
    let half = |at: usize| f16::from_le_bytes([b[at], b[at + 1]]).to_f32();
    let (h, k, l, g) = (i / 128, i % 128 / 32, i % 32, i / 32);
    let six = |s: &[u8]| match g {
        0..4 => (s[g] & 63, s[g + 4] & 63),
        _ => ((s[g + 4] & 15) | (s[g - 4] >> 6) << 4, (s[g + 4] >> 4) | (s[g] >> 6) << 4),
    };
    match name {
        "q2_k" => {
            let q = b[16 + 32 * h + l] >> (2 * k) & 3;
            let s = b[i / 16];
            (half(80) * f32::from(s & 15)) * f32::from(q) - half(82) * f32::from(s >> 4)
        }
        "q3_k" => {
            let (s, j) = (&b[96..108], i / 16);
            let scale = (s[j % 8] >> (4 * (j / 8)) & 15) | (s[8 + j % 4] >> (2 * (j / 4)) & 3) << 4;
            let low = (b[32 + 32 * h + l] >> (2 * k) & 3) as i8;
            let q = low - if b[l] >> (4 * h + k) & 1 == 1 { 0 } else { 4 };
            (half(108) * f32::from(scale as i8 - 32)) * f32::from(q)
        }
        "q4_k" => {
            let (scale, min) = six(&b[4..16]);
            let q = b[16 + 32 * (g / 2) + l] >> (4 * (g % 2)) & 15;
            (half(0) * f32::from(scale)) * f32::from(q) - half(2) * f32::from(min)
        }
        "q5_k" => {
            let (scale, min) = six(&b[4..16]);
            let q = (b[48 + 32 * (g / 2) + l] >> (4 * (g % 2)) & 15) + 16 * (b[16 + l] >> g & 1);
            (half(0) * f32::from(scale)) * f32::from(q) - half(2) * f32::from(min)
        }
        "q6_k" => {
            let low = b[64 * h + 32 * (k % 2) + l] >> (4 * (k / 2)) & 15;
            let high = b[128 + 32 * h + l] >> (2 * k) & 3;
            (half(208) * f32::from(b[192 + i / 16] as i8)) * f32::from((low | high << 4) as i8 - 32)
        }
        "iq4_xs" => {
            const TABLE: [i8; 16] =
                [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
            let high = u16::from_le_bytes([b[2], b[3]]) >> (2 * g) & 3;
            let scale = i16::from(b[4 + g / 2] >> (4 * (g % 2)) & 15) + 16 * high as i16 - 32;
            let q = b[8 + 16 * g + l % 16] >> (4 * (l / 16)) & 15;
            (half(0) * f32::from(scale)) * f32::from(TABLE[usize::from(q)])
        }
        _ => panic!("{name} is no K-quant"),
    }
}

#[test]
fn blocks_of_256_are_their_tables() {
    for (format, values, bytes) in block_formats().filter(|format| format.1 == 256) {
        let blocks = random_blocks(format, bytes, 6, 11);
        let found = weight(format, 2, 3 * values, blocks.clone()).to_f32();
        for (index, value) in found.iter().enumerate() {
            let block = &blocks[index / 256 * bytes..][..bytes];
            assert_eq!(*value, k_quant(format.name(), block, index % 256), "{} value {index}", format.name());
        }
    }
}

#[test]
fn decoding_is_scale_times_code_plus_offset() {
    for (format, values, bytes) in block_formats() {
        for blocks in [1, 2, 7, 9, 17] {
            let bytes = random_blocks(format, bytes, blocks * 2, blocks as u64);
            laws::decodes_as_unpacked(&weight(format, 2, blocks * values, bytes)).unwrap();
        }
    }
}

#[test]
fn blocks_are_never_written_and_never_cut() {
    for (format, values, bytes) in block_formats() {
        let error = Weight::encode(format, 1, values, &vec![1.0; values], Rounding::default()).unwrap_err();
        assert_eq!(error, Error::ReadOnly { format: format.name() });
        let parts = Parts::codes_only(vec![0; bytes].into());
        let error = Weight::new(format, 1, values + 1, parts).unwrap_err();
        assert_eq!(error, Error::Columns { format: format.name(), cols: values + 1, multiple: values });
    }
}

#[test]
fn a_float_that_is_not_finite_is_found() {
    for (format, values, bytes) in block_formats() {
        let good = random_blocks(format, bytes, 12, 3);
        assert_eq!(weight(format, 4, 3 * values, good.clone()).validate(), Ok(()), "{}", format.name());
        let groups = values / format.layout().group();
        for (field, &at) in ["scale", "offset"].iter().zip(half_offsets(format.name())) {
            for bad in [f16::NAN, f16::INFINITY, f16::NEG_INFINITY] {
                let mut blocks = good.clone();
                blocks[7 * bytes + at..][..2].copy_from_slice(&bad.to_le_bytes());
                let error = weight(format, 4, 3 * values, blocks).validate().unwrap_err();
                let Error::Group { row: 2, group, field: found, .. } = error else { panic!("{error}") };
                assert_eq!((group, found), (groups, *field), "{}", format.name());
            }
        }
    }
}

#[test]
fn separating_blocks_keeps_every_value_and_goes_back() {
    for (blocks, streams) in [("q4_0", "int4-sym-g32"), ("q8_0", "int8-g32"), ("mxfp4-gguf", "mxfp4")] {
        let format = by_name(blocks).unwrap();
        let Layout::Blocks { bytes, .. } = format.layout() else { panic!("{blocks}") };
        for (rows, cols) in [(1, 32), (3, 96), (2, 288), (0, 64), (5, 0)] {
            let native = weight(format, rows, cols, random_blocks(format, bytes, rows * cols / 32, 17));
            let separate = import::separate(&native).unwrap();
            assert_eq!(separate.format().name(), streams);
            assert_eq!((separate.rows(), separate.cols()), (rows, cols));
            let bits =
                |weight: &Weight| weight.to_f32().iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&separate), bits(&native), "{blocks}");
            let back = import::interleave(&separate).unwrap();
            assert_eq!(back.format().name(), blocks);
            assert_eq!(back.parts().codes, native.parts().codes, "{blocks}");
        }
    }
    let twinless = weight(by_name("q4_1").unwrap(), 1, 32, vec![0; 20]);
    assert!(import::separate(&twinless).is_none());
    let short = Weight::encode(by_name("mxfp4").unwrap(), 1, 33, &[1.0; 33], Rounding::default()).unwrap();
    assert!(import::interleave(&short).is_none() && import::separate(&short).is_none());
}
