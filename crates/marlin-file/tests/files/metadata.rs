//! GGUF metadata: every value type, the typed getters, and values that lie.

use marlin_file::gguf::{Array, Value};

use crate::build::{GgufFile, string, text};

const STRING: u32 = 8;
const ARRAY: u32 = 9;

fn array(kind: u32, count: u64, elements: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &count.to_le_bytes(), elements].concat()
}

#[test]
fn every_type_is_read() {
    let nested = [array(0, 2, &[1, 2]), array(STRING, 1, &string("x"))].concat();
    let file = GgufFile::new()
        .key("u8", 0, &[200])
        .key("i8", 1, &[200])
        .key("u16", 2, &60_000u16.to_le_bytes())
        .key("i16", 3, &(-2i16).to_le_bytes())
        .key("u32", 4, &4_000_000_000u32.to_le_bytes())
        .key("i32", 5, &(-3i32).to_le_bytes())
        .key("f32", 6, &1.5f32.to_le_bytes())
        .key("bool", 7, &[1])
        .key("string", STRING, &string("grüß"))
        .key("u64", 10, &u64::MAX.to_le_bytes())
        .key("i64", 11, &i64::MIN.to_le_bytes())
        .key("f64", 12, &0.25f64.to_le_bytes())
        .key("tokens", ARRAY, &array(STRING, 3, &[string("a"), string(""), string("bc")].concat()))
        .key("nested", ARRAY, &array(ARRAY, 2, &nested));
    let gguf = file.parse().unwrap();
    let keys = gguf.metadata();
    let integers = ["u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64"];
    let found = integers.map(|key| keys.get(key).unwrap().clone());
    let expected = [200, -56, 60_000, -2, 4_000_000_000, -3, i128::from(u64::MAX), i128::from(i64::MIN)];
    assert_eq!(found, expected.map(Value::Integer));
    assert_eq!(keys.u32("u32").unwrap(), 4_000_000_000);
    assert_eq!(keys.u32("u8").unwrap(), 200);
    assert_eq!(keys.u64("u64").unwrap(), u64::MAX);
    assert_eq!(keys.f32("f32").unwrap(), 1.5);
    assert_eq!(keys.f32("f64").unwrap(), 0.25);
    assert!(keys.bool("bool").unwrap());
    assert_eq!(keys.str("string").unwrap(), "grüß");
    let tokens = keys.strings("tokens").unwrap();
    assert_eq!(tokens.iter().collect::<Vec<_>>(), ["a", "", "bc"]);
    assert_eq!((tokens.len(), tokens.get(2), tokens.get(3)), (3, Some("bc"), None));
    let Array::Arrays(nested) = keys.array("nested").unwrap() else { panic!("not nested") };
    assert_eq!(nested[0], Array::U8(vec![1, 2]));
    assert_eq!(nested[1].strings().unwrap().get(0), Some("x"));
    assert_eq!(keys.iter().len(), 14);
}

#[test]
fn arrays_of_numbers_convert_only_losslessly() {
    let file = GgufFile::new()
        .key("i32s", ARRAY, &array(5, 2, &[1, 0, 0, 0, 255, 255, 255, 255]))
        .key("f32s", ARRAY, &array(6, 1, &2.5f32.to_le_bytes()))
        .key("f64s", ARRAY, &array(12, 1, &0.5f64.to_le_bytes()))
        .key("bools", ARRAY, &array(7, 3, &[1, 0, 1]))
        .key("u64s", ARRAY, &array(10, 1, &u64::MAX.to_le_bytes()));
    let gguf = file.parse().unwrap();
    let keys = gguf.metadata();
    assert_eq!(keys.integers("i32s").unwrap(), [1, -1]);
    assert_eq!(keys.floats("f32s").unwrap(), [2.5]);
    assert_eq!(keys.floats("f64s").unwrap(), [0.5]);
    assert_eq!(keys.array("bools").unwrap().bools().unwrap(), [true, false, true]);
    assert_eq!(text(keys.integers("u64s")), "f.gguf: key u64s: array of 1 u64, expected array of integers");
}

#[test]
fn getters_name_key_and_types() {
    let long = "x".repeat(100);
    let file = GgufFile::new()
        .key("a", STRING, &string("text"))
        .key("big", 10, &(1u64 << 40).to_le_bytes())
        .key("long", STRING, &string(&long))
        .key("list", ARRAY, &array(4, 2, &[0; 8]));
    let gguf = file.parse().unwrap();
    let keys = gguf.metadata();
    assert_eq!(text(keys.u32("a")), "f.gguf: key a: string \"text\", expected u32");
    assert_eq!(text(keys.u32("big")), "f.gguf: key big: integer 1099511627776, expected u32");
    assert_eq!(text(keys.f32("big")), "f.gguf: key big: integer 1099511627776, expected f32");
    assert_eq!(text(keys.bool("list")), "f.gguf: key list: array of 2 u32, expected bool");
    assert_eq!(text(keys.strings("list")), "f.gguf: key list: array of 2 u32, expected array of string");
    assert_eq!(text(keys.str("missing")), "f.gguf: key missing: missing, expected string");
    let shown = "x".repeat(40);
    assert_eq!(text(keys.u32("long")), format!("f.gguf: key long: string \"{shown}\"..., expected u32"));
}

#[test]
fn values_that_lie() {
    let refused = |kind: u32, value: &[u8]| text(GgufFile::new().key("k", kind, value).parse());
    assert_eq!(refused(13, &[]), "f.gguf: key k: value type at offset 33 is 13, expected 0 to 12");
    assert_eq!(refused(7, &[2]), "f.gguf: key k: bool at offset 37 is 2, expected 0 or 1");
    assert_eq!(
        refused(ARRAY, &array(13, 0, &[])),
        "f.gguf: key k: array type at offset 37 is 13, expected 0 to 12"
    );
    assert_eq!(
        refused(ARRAY, &array(7, 3, &[1, 0, 7])),
        "f.gguf: key k: bool at offset 51 is 7, expected 0 or 1"
    );
    // The file ends on a multiple of 32, so 15 bytes are left after 49.
    for (kind, size) in [(0, 1), (3, 2), (6, 4), (10, 8), (STRING, 8), (ARRAY, 12)] {
        for count in [16u64, 1 << 40, u64::MAX] {
            assert_eq!(
                refused(ARRAY, &array(kind, count, &[])),
                format!("f.gguf: array at offset 49 needs {} bytes, 15 left", count.saturating_mul(size))
            );
        }
    }
    assert_eq!(
        refused(STRING, &u64::MAX.to_le_bytes()),
        "f.gguf: string value at offset 45 needs 18446744073709551615 bytes, 19 left"
    );
    let twice = GgufFile::new().key("k", 0, &[1]).key("k", 0, &[2]);
    assert_eq!(text(twice.parse()), "f.gguf: key k: there are two");
}

#[test]
fn nesting_has_an_end() {
    let nest = |depth: usize| {
        let inner = array(0, 1, &[5]);
        let value = (1..depth).fold(inner, |inner, _| array(ARRAY, 1, &inner));
        GgufFile::new().key("k", ARRAY, &value).parse()
    };
    assert!(nest(4).is_ok());
    assert_eq!(text(nest(5)), "f.gguf: key k: array depth at offset 85 is 5, expected 4 or less");
    assert!(nest(1000).is_err());
}
