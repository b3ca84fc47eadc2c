//! One safetensors file: what is read, and every way a header can lie.

use marlin_file::{Dtype, Safetensors};

use crate::build::{f32s, parse_safetensors, safetensors, tensors, tensors_with, text};

const ONE: &str = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;

#[test]
fn tensors_come_out_in_file_order_with_their_bytes() {
    let bytes = tensors_with(
        &[
            ("b", "F32", &[2, 1], &f32s(&[1.0, -2.0])),
            ("empty", "U8", &[0, 7], &[]),
            ("a", "BF16", &[3], &[1, 2, 3, 4, 5, 6]),
            ("scalar", "I64", &[], &7i64.to_le_bytes()),
        ],
        r#""__metadata__":{"format":"pt","made_by":"test"},"#,
    );
    // The library that defined the format agrees on all of it.
    let oracle = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let file = parse_safetensors(bytes.clone()).unwrap();
    let names: Vec<_> = file.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["b", "empty", "a", "scalar"]);
    for tensor in file.tensors() {
        let expected = oracle.tensor(&tensor.name).unwrap();
        assert_eq!(tensor.shape, expected.shape());
        assert_eq!(tensor.data, expected.data());
        assert_eq!(tensor.dtype.name(), expected.dtype().to_string());
    }
    assert_eq!(file.tensors().get("a").unwrap().dtype, Dtype::Bf16);
    assert_eq!(file.metadata()["made_by"], "test");
    assert_eq!(file.len_bytes(), bytes.len() as u64);
    assert_eq!(
        text(file.tensors().get("c").cloned()),
        "f.safetensors: tensor c: missing, not among the 4 there are"
    );
}

#[test]
fn a_file_that_ends_early_says_where() {
    assert_eq!(
        text(parse_safetensors(vec![1, 2, 3])),
        "f.safetensors: header length at offset 0 needs 8 bytes, 3 left"
    );
    let mut cut = safetensors(ONE, &[0; 8]);
    cut.truncate(20);
    assert_eq!(
        text(parse_safetensors(cut)),
        format!("f.safetensors: header at offset 8 needs {} bytes, 12 left", ONE.len())
    );
    assert_eq!(
        text(parse_safetensors(safetensors(ONE, &[0; 5]))),
        "f.safetensors: tensor a: bytes 62..70, the tensor data is 62..67"
    );
}

#[test]
fn header_lengths_that_lie() {
    let mut longer = safetensors(ONE, &[0; 8]);
    longer[..8].copy_from_slice(&1000u64.to_le_bytes());
    assert_eq!(
        text(parse_safetensors(longer)),
        "f.safetensors: header at offset 8 needs 1000 bytes, 62 left"
    );
    for huge in [100_000_001, u64::MAX] {
        let mut bytes = safetensors(ONE, &[0; 8]);
        bytes[..8].copy_from_slice(&huge.to_le_bytes());
        assert_eq!(
            text(parse_safetensors(bytes)),
            format!("f.safetensors: header length in bytes is {huge}, the limit is 100000000")
        );
    }
}

#[test]
fn headers_that_are_no_header() {
    assert_eq!(
        text(parse_safetensors(safetensors("not json", &[]))),
        "f.safetensors: header is not valid: expected ident at line 1 column 2"
    );
    let mut bytes = safetensors(ONE, &[0; 8]);
    bytes[12] = 0xff;
    assert_eq!(text(parse_safetensors(bytes)), "f.safetensors: header at offset 12 is not UTF-8");
    for header in ["[]", "3", r#"{"a":5}"#, r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,0]}}"#] {
        let found = text(parse_safetensors(safetensors(header, &[])));
        assert!(found.starts_with("f.safetensors: header is not valid: "), "{found}");
    }
    let deep = format!(r#"{{"a":{}1{}}}"#, r#"{"x":"#.repeat(100_000), "}".repeat(100_000));
    let found = text(parse_safetensors(safetensors(&deep, &[])));
    assert!(found.contains("missing field `dtype`"), "{found}");
    let twice = r#"{"__metadata__":{},"__metadata__":{}}"#;
    let found = text(parse_safetensors(safetensors(twice, &[])));
    assert!(found.contains("__metadata__ appears twice"), "{found}");
}

#[test]
fn ranges_that_overlap_or_leave_holes() {
    let two = |a: [u64; 2], b: [u64; 2]| {
        let entry = |name, [start, end]: [u64; 2]| {
            format!(r#""{name}":{{"dtype":"U8","shape":[4],"data_offsets":[{start},{end}]}}"#)
        };
        let header = format!("{{{},{}}}", entry("a", a), entry("b", b));
        // Spaces up to 184 bytes: the data begins at 192.
        let header = format!("{header:<184}");
        text(parse_safetensors(safetensors(&header, &[0; 12])))
    };
    let overlap = "f.safetensors: tensor b at offset 194 overlaps a, which ends at 196";
    assert_eq!(two([0, 4], [2, 6]), overlap);
    assert_eq!(two([0, 4], [6, 10]), "f.safetensors: bytes 196..198 belong to no tensor");
    assert_eq!(two([1, 5], [5, 9]), "f.safetensors: bytes 192..193 belong to no tensor");
    assert_eq!(two([0, 4], [4, 8]), "f.safetensors: bytes 200..204 belong to no tensor");
    assert_eq!(two([0, 4], [9, 13]), "f.safetensors: tensor b: bytes 201..205, the tensor data is 192..204");
    assert_eq!(two([4, 0], [4, 8]), "f.safetensors: tensor a: bytes 196..192, the tensor data is 192..204");
    assert_eq!(
        two([0, 4], [u64::MAX - 3, u64::MAX]),
        "f.safetensors: tensor b: bytes 18446744073709551615..18446744073709551615, \
         the tensor data is 192..204"
    );
}

#[test]
fn shapes_that_do_not_match_their_bytes() {
    let bytes = tensors(&[("x", "BF16", &[3, 5], &[0; 28])]);
    let start = bytes.len() - 28;
    assert_eq!(
        text(parse_safetensors(bytes)),
        format!("f.safetensors: tensor x: 28 bytes at offset {start}, BF16 [3, 5] needs 30")
    );
    let shape = [usize::MAX, 2];
    assert_eq!(
        text(parse_safetensors(tensors(&[("x", "U8", &shape, &[])]))),
        "f.safetensors: tensor x: U8 [18446744073709551615, 2] has more bytes than a file can hold"
    );
    let shape = [1 << 62];
    assert_eq!(
        text(parse_safetensors(tensors(&[("x", "F32", &shape, &[])]))),
        "f.safetensors: tensor x: F32 [4611686018427387904] has more bytes than a file can hold"
    );
}

#[test]
fn names_and_dtypes_that_do_not_work() {
    let twice = tensors(&[("x", "U8", &[1], &[1]), ("x", "U8", &[1], &[2])]);
    assert_eq!(text(parse_safetensors(twice)), "f.safetensors: tensor x: there are two");
    for dtype in ["F4", "F6_E2M3", "C64", "bf16", "Q4_0", ""] {
        let found = text(parse_safetensors(tensors(&[("x", dtype, &[1], &[1])])));
        let start =
            format!("f.safetensors: tensor x: dtype {dtype} is not supported, expected one of BOOL, U8,");
        assert!(found.starts_with(&start), "{found}");
    }
    let formats = r#"{"__metadata__":{"marlin.formats":"[1]"}}"#;
    let found = text(parse_safetensors(safetensors(formats, &[])));
    assert!(found.starts_with("f.safetensors: metadata marlin.formats is not valid: "), "{found}");
}

#[test]
fn paths_that_are_no_file() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(
        text(Safetensors::open(dir.path())),
        format!("{}: a directory, expected a file", dir.path().display())
    );
    let empty = dir.path().join("empty.safetensors");
    std::fs::write(&empty, b"").unwrap();
    assert_eq!(
        text(Safetensors::open(&empty)),
        format!("{}: empty file, expected safetensors or GGUF", empty.display())
    );
    let missing = dir.path().join("missing.safetensors");
    let error = Safetensors::open(&missing).unwrap_err();
    assert!(error.is_not_found());
    assert!(error.to_string().starts_with(&format!("{}: cannot open: ", missing.display())), "{error}");
    assert_eq!(
        text(Safetensors::open(std::path::Path::new("/dev/null"))),
        "/dev/null: a device or pipe, expected a file"
    );
}
