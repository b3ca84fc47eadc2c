//! Composition: imports, slots, constants, and what a missing file says.

use super::{SHADERS, compose::compose};

fn file(name: &str) -> Option<&'static str> {
    match name {
        "a" => Some("// a\nenable f16;\n//#import common\n//#import slot\n//#import other/b\nfn main() {}\n"),
        "shader/common" => Some("const C: u32 = N;\n"),
        "other/b" => Some("enable f16;\n//#import common\nfn b() {}\n"),
        "other/c" => Some("fn c() {}\n"),
        _ => None,
    }
}

#[test]
fn imports_come_once_and_enables_first() {
    let source = compose(&file, "a", &[("slot", "other/c")], &[("N", 3)]).unwrap();
    let expected =
        "enable f16;\nconst N: u32 = 3u;\n// a\nconst C: u32 = N;\nfn c() {}\nfn b() {}\nfn main() {}\n";
    assert_eq!(source.text, expected);
    assert_eq!(source.origin(7), "a.wgsl:6");
    assert_eq!(source.origin(6), "other/b.wgsl:3");
}

#[test]
fn a_missing_import_is_named_with_its_line() {
    let error = compose(&file, "a", &[("slot", "other/none")], &[]).unwrap_err();
    assert_eq!(error, "a.wgsl:4: there is no other/none.wgsl");
}

#[test]
fn names_of_variants_differ() {
    let mut names: Vec<String> =
        SHADERS.iter().flat_map(|shader| shader.variants()).map(|variant| variant.name()).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}
