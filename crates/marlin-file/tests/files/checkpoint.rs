//! Opening a model whatever its container, and the files beside it.

use std::fs;
use std::path::Path;

use marlin_file::{Checkpoint, Model, check_finite};

use crate::build::{GgufFile, f32s, parse_gguf, parse_safetensors, tensors, text};

fn gguf_bytes() -> Vec<u8> {
    GgufFile::new().tensor("blk.0.w.weight", &[2], 0, &f32s(&[1.0, 2.0])).bytes()
}

fn safetensors_bytes() -> Vec<u8> {
    tensors(&[("w.weight", "F32", &[2], &f32s(&[3.0, 4.0]))])
}

fn dir_with(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

#[test]
fn directories_and_files_of_both_kinds_open() {
    let dir = dir_with(&[("model.safetensors", &safetensors_bytes()), ("config.json", br#"{"a":1}"#)]);
    for path in [dir.path().to_owned(), dir.path().join("model.safetensors")] {
        let model = Checkpoint::open(&path).unwrap();
        assert!(model.gguf().is_none());
        assert_eq!(model.weight("w").unwrap().to_f32(), [3.0, 4.0]);
        assert_eq!(model.config_json().unwrap().unwrap()["a"], 1);
        assert_eq!(model.len_bytes(), safetensors_bytes().len() as u64);
    }
    let dir = dir_with(&[("x.gguf", &gguf_bytes()), ("config.json", br#"{"a":2}"#)]);
    let model = Checkpoint::open(dir.path()).unwrap();
    assert!(model.gguf().is_some());
    assert_eq!(model.weight("blk.0.w").unwrap().to_f32(), [1.0, 2.0]);
    assert_eq!(model.config_json().unwrap().unwrap()["a"], 2);
    // A file given by name brings its own metadata: what lies beside it may be another model's.
    let model = Checkpoint::open(&dir.path().join("x.gguf")).unwrap();
    assert!(model.config_json().unwrap().is_none());
}

#[test]
fn a_split_set_is_one_model_of_its_directory() {
    let part = |number: u16| {
        GgufFile::new()
            .key("split.no", 2, &number.to_le_bytes())
            .key("split.count", 2, &2u16.to_le_bytes())
            .key("split.tensors.count", 5, &2i32.to_le_bytes())
            .tensor(&format!("t{number}"), &[1], 0, &f32s(&[f32::from(number)]))
            .bytes()
    };
    let dir = dir_with(&[("m-00001-of-00002.gguf", &part(0)), ("m-00002-of-00002.gguf", &part(1))]);
    assert_eq!(Checkpoint::open(dir.path()).unwrap().weight_names(), ["t0", "t1"]);
}

#[test]
fn directories_without_one_model_list_what_they_hold() {
    let what = "no model.safetensors, model.safetensors.index.json or single .gguf, found";
    let refused = |files: &[(&str, &[u8])], found: &str| {
        let dir = dir_with(files);
        let expected = format!("{}: {what} {found}", dir.path().display());
        assert_eq!(text(Checkpoint::open(dir.path())), expected);
    };
    refused(&[], "no model file");
    refused(&[("readme.md", b"")], "no model file");
    refused(&[("a.gguf", b""), ("b.gguf", b"")], "a.gguf, b.gguf");
    refused(&[("consolidated.safetensors", b"")], "consolidated.safetensors");
    let many: Vec<_> = ["1", "2", "3", "4", "5", "6", "7"].map(|n| format!("{n}.gguf")).to_vec();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), &b""[..])).collect();
    refused(&many, "1.gguf, 2.gguf, 3.gguf, 4.gguf, 5.gguf and 2 more");
    let dir = dir_with(&[("notes.txt", b"hello")]);
    let path = dir.path().join("notes.txt");
    assert_eq!(text(Checkpoint::open(&path)), format!("{}: {what} notes.txt", path.display()));
    let missing = Checkpoint::open(&dir.path().join("nothing")).unwrap_err();
    assert!(missing.is_not_found());
}

#[test]
fn side_files_are_read_by_plain_name_and_within_limits() {
    let dir = dir_with(&[("model.safetensors", &safetensors_bytes()), ("chat_template.jinja", b"{{ x }}")]);
    let model = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(model.read("chat_template.jinja").unwrap().unwrap(), b"{{ x }}");
    assert_eq!(model.read("tokenizer.json").unwrap(), None);
    assert!(model.config_json().unwrap().is_none());
    for name in ["", "../x", "/etc/passwd", "a/b", ".hidden", "a\\b", "c:x"] {
        assert_eq!(text(model.read(name)), format!("{name:?}: expected a plain file name"));
    }
    let show = |name: &str| dir.path().join(name).display().to_string();
    fs::create_dir(dir.path().join("generation_config.json")).unwrap();
    assert_eq!(
        text(model.read("generation_config.json")),
        format!("{}: a directory, expected a file", show("generation_config.json"))
    );
    fs::write(dir.path().join("config.json"), "[1]").unwrap();
    let found = text(model.config_json());
    assert!(found.starts_with(&format!("{}: config is not valid: ", show("config.json"))), "{found}");
    for (name, limit) in [("config.json", 16u64 << 20), ("tokenizer.json", 256 << 20)] {
        let file = fs::File::create(dir.path().join(name)).unwrap();
        file.set_len(limit + 1).unwrap();
        assert_eq!(
            text(model.read(name)),
            format!("{}: length in bytes is {}, the limit is {limit}", show(name), limit + 1)
        );
    }
}

fn open_bytes(list: &[(&str, &str, &[usize], &[u8])]) -> Checkpoint {
    Model::Safetensors(parse_safetensors(tensors(list)).unwrap()).into()
}

#[test]
fn dense_weights_of_every_shape() {
    let model = open_bytes(&[
        ("m.weight", "F32", &[2, 3], &f32s(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
        ("m.bias", "F32", &[2], &f32s(&[7.0, 8.0])),
        ("h.weight", "F16", &[1], &[0, 0x3c]),
        ("b.weight", "BF16", &[1], &[0x80, 0x3f]),
        ("stack", "F32", &[2, 1, 2], &f32s(&[1.0, 2.0, 3.0, 4.0])),
        ("none.weight", "F32", &[0, 4], &[]),
        ("codes.weight", "U8", &[1, 1], &[1]),
        ("scalar", "F32", &[], &f32s(&[1.0])),
    ]);
    let weight = model.weight("m").unwrap();
    assert_eq!((weight.rows(), weight.cols(), weight.format().name()), (2, 3, "f32"));
    assert_eq!(weight.to_f32(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let bias = model.weight("m.bias").unwrap();
    assert_eq!((bias.rows(), bias.cols()), (1, 2));
    assert_eq!(model.weight("h").unwrap().to_f32(), [1.0]);
    assert_eq!(model.weight("b.weight").unwrap().to_f32(), [1.0]);
    assert_eq!(model.weight_names(), ["m", "m.bias", "h", "b", "none", "codes"]);
    let one = model.expert_weight("stack", 1).unwrap();
    assert_eq!(((one.rows(), one.cols()), one.to_f32()), ((1, 2), vec![3.0, 4.0]));

    let file = "f.safetensors: tensor";
    assert_eq!(text(model.weight("x")), format!("{file} x.weight: missing, not among the 8 there are"));
    let dims = "expected one to three dimensions, none of them 0";
    let stack = model.weight("stack").unwrap();
    assert_eq!((stack.rows(), stack.to_f32()), (2, vec![1.0, 2.0, 3.0, 4.0]));
    assert_eq!(model.stack_names(), ["stack"]);
    assert_eq!(text(model.weight("none")), format!("{file} none.weight: shape [0, 4], {dims}"));
    assert_eq!(text(model.weight("scalar")), format!("{file} scalar: shape [], {dims}"));
    assert_eq!(
        text(model.weight("codes")),
        format!("{file} codes.weight: U8, expected BF16, F16, F32 or a block type")
    );
    assert_eq!(text(model.expert_weight("stack", 2)), format!("{file} stack: expert 2, there are 2"));
    assert_eq!(
        text(model.expert_weight("m", 0)),
        format!("{file} m.weight: shape [2, 3], expected three dimensions")
    );
}

#[test]
fn nan_and_infinity_are_found() {
    let model = open_bytes(&[
        ("m.weight", "F32", &[2, 2], &f32s(&[1.0, 2.0, 3.0, f32::NAN])),
        ("n.weight", "F16", &[1, 3], &[0, 0, 0, 0xfc, 0, 0]),
    ]);
    let check = |name: &str| text(check_finite("f", name, &model.weight(name).unwrap()));
    assert_eq!(check("m"), "f: tensor m: NaN at row 1, column 1, expected a finite value");
    assert_eq!(check("n"), "f: tensor n: -inf at row 0, column 1, expected a finite value");
    let model = open_bytes(&[("m.weight", "F32", &[1], &f32s(&[1.0]))]);
    assert!(check_finite("f", "m", &model.weight("m").unwrap()).is_ok());
}

/// Every truncation of every good file is refused without a panic, through the whole reader.
#[test]
fn no_prefix_of_a_model_opens() {
    for whole in [gguf_bytes(), safetensors_bytes()] {
        for len in 0..whole.len() {
            let cut = whole[..len].to_vec();
            assert!(parse_gguf(cut.clone()).is_err() && parse_safetensors(cut).is_err());
        }
    }
    assert!(Checkpoint::open(Path::new("")).is_err());
}

/// Checkpoints that transformers and gguf-py wrote: each opens whole, and the last norm of a GGUF
/// twin has the values of the checkpoint's.
#[test]
fn checkpoints_of_other_writers_open() {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens");
    let (mut checkpoints, mut twins) = (0, 0);
    for entry in fs::read_dir(goldens).unwrap() {
        let dir = entry.unwrap().path();
        if !dir.join("config.json").exists() {
            continue;
        }
        let model = Checkpoint::open(&dir).unwrap();
        assert!(model.config_json().unwrap().unwrap().contains_key("model_type"), "{}", dir.display());
        for name in model.weight_names() {
            check_finite("golden", name, &model.weight(name).unwrap()).unwrap();
        }
        checkpoints += 1;
        if dir.join("model.gguf").exists() {
            let twin = Checkpoint::open(&dir.join("model.gguf")).unwrap();
            let ours = model.weight("model.norm").unwrap().to_f32();
            let theirs = twin.weight("output_norm").unwrap().to_f32();
            // Gemma's norms are stored less one in one of them.
            let same = ours == theirs || ours.iter().zip(&theirs).all(|(a, b)| a + 1.0 == *b);
            assert!(same, "{}", dir.display());
            twins += 1;
        }
    }
    assert!(checkpoints >= 10 && twins >= 5, "{checkpoints} checkpoints, {twins} twins");
}
