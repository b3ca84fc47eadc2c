//! GGUF tensors: what is read, and every way a header or a tensor info can lie.

use std::fs;

use marlin_file::{Dtype, Gguf};

use crate::build::{GgufFile, f32s, parse_gguf, text};

/// Numbers of value types.
const U16: u32 = 2;
const U32: u32 = 4;
const I32: u32 = 5;
/// Numbers of tensor types.
const F32: u32 = 0;
const Q4_0: u32 = 2;

fn one_tensor() -> GgufFile {
    GgufFile::new().tensor("a", &[2], F32, &f32s(&[1.0, 2.0]))
}

#[test]
fn tensors_come_out_with_rows_first() {
    let matrix = f32s(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    for version in [2, 3] {
        let mut file = GgufFile::new()
            .tensor("m", &[3, 2], F32, &matrix)
            .tensor("q", &[64, 3], Q4_0, &[7; 3 * 2 * 18])
            .tensor("stack", &[32, 2, 5], Q4_0, &[8; 5 * 2 * 18]);
        file.version = version;
        let gguf = file.parse().unwrap();
        let shapes: Vec<_> = gguf.tensors().iter().map(|t| (&t.name[..], t.dtype, &t.shape[..])).collect();
        assert_eq!(
            shapes,
            [
                ("m", Dtype::F32, &[2, 3][..]),
                ("q", Dtype::Q4_0, &[3, 64]),
                ("stack", Dtype::Q4_0, &[5, 2, 32])
            ]
        );
        assert_eq!(gguf.tensors().get("m").unwrap().data, matrix);
        assert_eq!(gguf.len_bytes(), file.bytes().len() as u64);
    }
}

#[test]
fn the_alignment_of_the_file_is_used() {
    for alignment in [1u32, 8, 64, 4096] {
        let mut file = GgufFile::new().key("general.alignment", U32, &alignment.to_le_bytes());
        file.alignment = alignment as usize;
        let file = file.tensor("a", &[1], F32, &f32s(&[1.5])).tensor("b", &[1], F32, &f32s(&[2.5]));
        let gguf = file.parse().unwrap();
        assert_eq!(gguf.tensors().get("b").unwrap().data, f32s(&[2.5]));
    }
    for bad in [0u32, 3, 48] {
        let file = one_tensor().key("general.alignment", U32, &bad.to_le_bytes());
        assert_eq!(
            text(file.parse()),
            format!("f.gguf: key general.alignment: {bad}, expected a power of two")
        );
    }
    let file = one_tensor().key("general.alignment", I32, &(-32i32).to_le_bytes());
    assert_eq!(text(file.parse()), "f.gguf: key general.alignment: integer -32, expected u32");
    assert_eq!(
        text(GgufFile::new().info("a", &[1], F32, 4).data(&[0; 64]).parse()),
        "f.gguf: tensor a: data offset in the info at offset 24 is 4, \
         expected a multiple of general.alignment"
    );
}

#[test]
fn files_that_are_not_this_gguf() {
    let mut file = one_tensor();
    file.magic = *b"ggml";
    assert_eq!(text(file.parse()), "f.gguf: starts with \"ggml\", expected \"GGUF\"");
    for version in [0, 1, 4, 99] {
        let mut file = one_tensor();
        file.version = version;
        assert_eq!(text(file.parse()), format!("f.gguf: GGUF version {version}, expected 2 or 3"));
    }
    let mut file = one_tensor();
    file.version = 3u32.swap_bytes();
    assert_eq!(text(file.parse()), "f.gguf: GGUF version 50331648 (big endian), expected 2 or 3");
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = one_tensor().key("k", 8, &crate::build::string("value")).bytes();
    assert!(parse_gguf(whole.clone()).is_ok());
    for len in 0..whole.len() {
        let found = text(parse_gguf(whole[..len].to_vec()));
        let known = found.contains("needs") || found.contains("tensor a: bytes");
        assert!(known, "cut to {len}: {found}");
    }
    assert_eq!(text(parse_gguf(whole[..2].to_vec())), "f.gguf: magic at offset 0 needs 4 bytes, 2 left");
    assert_eq!(
        text(parse_gguf(whole[..20].to_vec())),
        "f.gguf: key count at offset 16 needs 8 bytes, 4 left"
    );
    let end = whole.len();
    assert_eq!(
        text(parse_gguf(whole[..end - 1].to_vec())),
        format!("f.gguf: tensor a: bytes {}..{end}, the tensor data is {}..{}", end - 8, end - 8, end - 1)
    );
}

#[test]
fn counts_that_lie_are_not_believed() {
    for count in [1 << 20, u64::MAX] {
        let mut file = one_tensor();
        file.tensor_count = Some(count);
        let needed = count.saturating_mul(32);
        assert_eq!(
            text(file.parse()),
            format!("f.gguf: tensor count at offset 24 needs {needed} bytes, 48 left")
        );
        let mut file = one_tensor();
        file.key_count = Some(count);
        let needed = count.saturating_mul(13);
        assert_eq!(
            text(file.parse()),
            format!("f.gguf: key count at offset 24 needs {needed} bytes, 48 left")
        );
    }
}

#[test]
fn strings_that_lie_about_their_length() {
    let mut bytes = one_tensor().bytes();
    bytes[24..32].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(
        text(parse_gguf(bytes)),
        "f.gguf: tensor name at offset 32 needs 18446744073709551615 bytes, 40 left"
    );
    let mut bytes = one_tensor().bytes();
    bytes[32] = 0xff;
    assert_eq!(text(parse_gguf(bytes)), "f.gguf: tensor name at offset 32 is not UTF-8");
}

#[test]
fn ranges_that_overlap_or_leave_the_file() {
    let file = GgufFile::new().info("a", &[16], F32, 0).info("b", &[8], F32, 32).data(&[0; 64]);
    let data_start = file.bytes().len() - 64;
    assert_eq!(
        text(file.parse()),
        format!(
            "f.gguf: tensor b at offset {} overlaps a, which ends at {}",
            data_start + 32,
            data_start + 64
        )
    );
    let file = GgufFile::new().info("a", &[17], F32, 0).data(&[0; 64]);
    let start = file.bytes().len() - 64;
    assert_eq!(
        text(file.parse()),
        format!(
            "f.gguf: tensor a: bytes {start}..{}, the tensor data is {start}..{}",
            start + 68,
            start + 64
        )
    );
    let file = GgufFile::new().info("a", &[1], F32, u64::MAX - 31).data(&[0; 64]);
    let start = file.bytes().len() - 64;
    assert_eq!(
        text(file.parse()),
        format!(
            "f.gguf: tensor a: bytes {max}..{max}, the tensor data is {start}..{}",
            start + 64,
            max = u64::MAX
        )
    );
    // Bytes that no tensor claims are fine: files have padding.
    assert!(GgufFile::new().info("a", &[1], F32, 32).data(&[0; 96]).parse().is_ok());
}

#[test]
fn shapes_that_do_not_work() {
    let refused =
        |dims: &[u64], kind: u32| text(GgufFile::new().info("a", dims, kind, 0).data(&[0; 64]).parse());
    assert_eq!(
        refused(&[], F32),
        "f.gguf: tensor a: number of dimensions at offset 33 is 0, expected 1 to 4"
    );
    assert_eq!(
        refused(&[1, 1, 1, 1, 1], F32),
        "f.gguf: tensor a: number of dimensions at offset 33 is 5, expected 1 to 4"
    );
    assert_eq!(
        refused(&[4, 0], F32),
        "f.gguf: tensor a: dimension at offset 45 is 0, expected 1 or more, within the address space"
    );
    assert_eq!(
        refused(&[1 << 40, 1 << 40], F32),
        "f.gguf: tensor a: F32 [1099511627776, 1099511627776] has more bytes than a file can hold"
    );
    assert_eq!(refused(&[33], Q4_0), "f.gguf: tensor a: 33 columns, Q4_0 needs a multiple of 32");
    assert_eq!(refused(&[128, 2], 12), "f.gguf: tensor a: 128 columns, Q4_K needs a multiple of 256");
}

#[test]
fn types_and_names_that_do_not_work() {
    for (id, name) in [(16, "IQ2_XXS"), (21, "IQ3_S"), (4, "number 4"), (1 << 31, "number 2147483648")] {
        let found = text(GgufFile::new().info("a", &[32], id, 0).parse());
        let start = format!("f.gguf: tensor a: dtype {name} is not supported, expected one of I8, I16, F16,");
        assert!(found.starts_with(&start), "{found}");
    }
    let file = one_tensor().tensor("a", &[1], F32, &[0; 4]);
    assert_eq!(text(file.parse()), "f.gguf: tensor a: there are two");
}

#[test]
fn metadata_has_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long.gguf");
    let mut bytes = GgufFile::new().bytes();
    bytes.truncate(24);
    bytes[16] = 1;
    // The length of a first key; the file is as long, but empty.
    bytes.extend_from_slice(&(200u64 << 20).to_le_bytes());
    fs::write(&path, bytes).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(300 << 20).unwrap();
    let found = (200 << 20) + 32;
    assert_eq!(
        text(Gguf::open(&path)),
        format!("{}: length of metadata and tensor infos is {found}, the limit is 134217728", path.display())
    );
}

/// The parts of a split model, each with one tensor.
fn write_parts(dir: &std::path::Path, numbers: &[u16], tensors: i32) -> std::path::PathBuf {
    let count = numbers.len() as u16;
    for (at, number) in numbers.iter().enumerate() {
        let file = GgufFile::new()
            .key("split.no", U16, &number.to_le_bytes())
            .key("split.count", U16, &count.to_le_bytes())
            .key("split.tensors.count", I32, &tensors.to_le_bytes())
            .tensor(&format!("t{number}"), &[1], F32, &f32s(&[f32::from(*number)]));
        fs::write(dir.join(format!("m-{:05}-of-{count:05}.gguf", at + 1)), file.bytes()).unwrap();
    }
    dir.join(format!("m-00001-of-{count:05}.gguf"))
}

#[test]
fn split_files_become_one_model() {
    let dir = tempfile::tempdir().unwrap();
    let first = write_parts(dir.path(), &[0, 1, 2], 3);
    let gguf = Gguf::open(&first).unwrap();
    let names: Vec<_> = gguf.tensors().iter().map(|tensor| &tensor.name[..]).collect();
    assert_eq!(names, ["t0", "t1", "t2"]);
    assert_eq!(gguf.tensors().get("t2").unwrap().data, f32s(&[2.0]));
    assert_eq!(gguf.len_bytes(), 3 * fs::metadata(&first).unwrap().len());
}

#[test]
fn splits_that_do_not_belong_together() {
    let dir = tempfile::tempdir().unwrap();
    let show = |name: &str| dir.path().join(name).display().to_string();
    let first = write_parts(dir.path(), &[0, 1, 2], 4);
    assert_eq!(
        text(Gguf::open(&first)),
        format!("{}: number of tensors in all parts is 3, expected 4", first.display())
    );
    let second = "m-00002-of-00003.gguf";
    assert_eq!(
        text(Gguf::open(&dir.path().join(second))),
        format!("{}: part of a split model is 2 of 3, expected 1 of 3", show(second))
    );
    write_parts(dir.path(), &[0, 0, 2], 3);
    assert_eq!(
        text(Gguf::open(&first)),
        format!("{}: part of a split model is 1 of 3, expected 2 of 3", show(second))
    );
    fs::remove_file(dir.path().join(second)).unwrap();
    let found = text(Gguf::open(&first));
    assert!(found.starts_with(&format!("{}: cannot open: ", show(second))), "{found}");
    let renamed = dir.path().join("model.gguf");
    fs::rename(&first, &renamed).unwrap();
    assert_eq!(
        text(Gguf::open(&renamed)),
        format!(
            "{}: name of the first part is model.gguf, expected a name that ends in -00001-of-00003.gguf",
            renamed.display()
        )
    );
}
