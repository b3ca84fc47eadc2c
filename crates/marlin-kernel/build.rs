//! Lists the WGSL files of this crate, and composes and validates every variant of every shader: a
//! broken one ends the build with its file and line.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use naga::valid::{Capabilities, ValidationFlags, Validator};

#[path = "src/shader/compose.rs"]
mod compose;
#[path = "src/shader/table.rs"]
#[allow(dead_code, reason = "the library reads what validation does not")]
mod table;

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("src");
    let mut files = BTreeMap::new();
    collect(&root, &root, &mut files);
    println!("cargo::rerun-if-changed=src");
    write_list(&root, &files);
    let mut broken = false;
    for shader in table::SHADERS {
        for variant in chosen(shader) {
            if let Err(message) = check(&files, &variant) {
                println!("cargo::error={message}");
                broken = true;
                // The others most likely say the same.
                break;
            }
        }
    }
    if broken {
        std::process::exit(1);
    }
}

/// All WGSL files below `folder`: path without extension, and text.
fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).expect("the source folder can be read") {
        let path = entry.expect("the source folder can be read").path();
        if path.is_dir() {
            collect(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "wgsl") {
            let name = path.with_extension("");
            let name = name.strip_prefix(root).expect("a path below root").to_string_lossy();
            let text = fs::read_to_string(&path).expect("a shader can be read");
            files.insert(name.replace('\\', "/"), text);
        }
    }
}

fn write_list(root: &Path, files: &BTreeMap<String, String>) {
    let mut list = "/// Every WGSL file, sorted: path below `src` without extension, and text.\n".to_owned();
    list += "static FILES: &[(&str, &str)] = &[\n";
    for name in files.keys() {
        let path = root.join(format!("{name}.wgsl"));
        list += &format!("    ({name:?}, include_str!({path:?})),\n");
    }
    list += "];\n";
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("files.rs"), list).expect("the output folder can be written");
}

/// The variants that are validated at build time: every snippet and every constant at least once with
/// the first choice of all others. Tests go through all combinations.
fn chosen(shader: &table::Shader) -> Vec<table::Variant> {
    let all = shader.variants();
    let first = all[0].clone();
    let differences = |variant: &table::Variant| {
        let slots = variant.slots.iter().zip(&first.slots).filter(|(a, b)| a != b).count();
        slots + variant.constants.iter().zip(&first.constants).filter(|(a, b)| a != b).count()
    };
    all.iter().filter(|variant| differences(variant) <= 1).cloned().collect()
}

fn check(files: &BTreeMap<String, String>, variant: &table::Variant) -> Result<(), String> {
    let file = |name: &str| files.get(name).map(String::as_str);
    let source = compose::compose(&file, variant.file, &variant.slots, &variant.constants)?;
    let text = &source.text;
    let place = |line: Option<u32>| {
        line.map_or_else(
            || format!("src/{}.wgsl", variant.file),
            |at| format!("src/{}", source.origin(at as usize)),
        )
    };
    let module = naga::front::wgsl::parse_str(text).map_err(|error| {
        let line = error.location(text).map(|location| location.line_number);
        format!("{}: {} ({:?} {:?})", place(line), error.message(), variant.slots, variant.constants)
    })?;
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::all());
    validator.validate(&module).map(|_| ()).map_err(|error| {
        let line = error.location(text).map(|location| location.line_number);
        let mut message = error.to_string();
        let mut source: Option<&dyn std::error::Error> = std::error::Error::source(&error);
        while let Some(cause) = source {
            message += &format!(": {cause}");
            source = cause.source();
        }
        format!("{}: {message} ({:?} {:?})", place(line), variant.slots, variant.constants)
    })
}
