//! The commands as a user runs them, on the miniature.

mod common;

use common::{Copy, fail, json, miniature, run, succeed};

#[test]
fn quantize_writes_a_model_that_runs_and_is_close_to_its_source() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("fp4");
    let out = out.to_str().unwrap();
    let mut report = json(&["quantize", "marlin-mini", "--out", out]);
    let seconds = report.as_object_mut().unwrap().shift_remove("seconds");
    assert!(seconds.is_some_and(|seconds| seconds.as_f64() > Some(0.0)));
    let bits = report["bits_per_weight"].as_f64().unwrap();
    assert!((5.0..6.0).contains(&bits), "{bits}");
    let on_disk: serde_json::Value =
        serde_json::from_slice(&std::fs::read(format!("{out}/marlin-report.json")).unwrap()).unwrap();
    assert_eq!(on_disk, report);
    let file = std::fs::metadata(format!("{out}/model.safetensors")).unwrap().len();
    let tensors = report["len_bytes"].as_u64().unwrap();
    assert!(file > tensors && file - tensors < 200_000, "{file} bytes of file, {tensors} of tensors");

    let text = miniature().join("heldout.txt");
    let text = text.to_str().unwrap();
    let eval = json(&["eval", out, "--reference", "marlin-mini", "--text", text, "--windows", "3"]);
    let distance = &eval["reference"];
    let kl = distance["kl_mean"].as_f64().unwrap();
    assert!(kl > 0.0 && kl < 0.1, "KL {kl}");
    assert!(distance["top1_agreement"].as_f64().unwrap() > 0.8);
    let ratio = eval["perplexity"].as_f64().unwrap() / distance["perplexity"].as_f64().unwrap();
    assert!((0.9..1.1).contains(&ratio), "{ratio}");

    let answer = json(&["run", out, "--prompt", "In the beginning", "--max-tokens", "8", "--logprobs", "2"]);
    assert_eq!(answer["new_tokens"], 8);
    assert_eq!(answer["tokens"].as_array().unwrap().len(), 8);
    assert_eq!(answer["tokens"][0]["top"].as_array().unwrap().len(), 2);
    assert!(answer["tokens"][0]["logprob"].as_f64().unwrap() <= 0.0);
}

#[test]
fn int8_activations_stay_within_a_thousandth_of_a_nat() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("fp4");
    let (out, text) = (out.to_str().unwrap(), miniature().join("heldout.txt"));
    succeed(&["quantize", "marlin-mini", "--out", out]);
    let args = ["eval", out, "--reference", out, "--activations", "int8", "--windows", "4", "--text"];
    let eval = json(&[&args[..], &[text.to_str().unwrap()]].concat());
    let kl = eval["reference"]["kl_mean"].as_f64().unwrap();
    assert!(kl > 0.0 && kl <= 1e-3, "KL {kl}");
}

#[test]
fn run_is_the_same_for_the_same_seed_and_for_any_number_of_threads() {
    let ask = |extra: &[&str]| {
        let args = ["run", "marlin-mini", "--prompt", "The king", "--max-tokens", "12"];
        json(&[&args[..], extra].concat())["text"].clone()
    };
    assert_eq!(ask(&["--threads", "1"]), ask(&["--threads", "2"]));
    let warm = ["--temperature", "1.0", "--seed", "7"];
    assert_eq!(ask(&warm), ask(&warm));
    assert_ne!(ask(&warm), ask(&["--temperature", "1.0", "--seed", "8"]));
}

#[test]
fn chat_answers_lines_and_commands() {
    use std::{io::Write, process::Stdio};
    let mut child = common::command()
        .args(["chat", "marlin-mini", "--json", "--quiet", "--max-tokens", "8"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"Who was Moses?\n/stats\n/retry\n/nonsense\n/quit\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<serde_json::Value> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(answers.len(), 2, "{text}");
    assert_eq!(answers[0]["content"], answers[1]["content"]);
    assert!(text.contains("/nonsense: unknown command"));
    assert!(output.status.success());
}

#[test]
fn inspect_counts_every_weight() {
    let facts = json(&["inspect", "marlin-mini", "--ctx", "1000", "--tensors"]);
    assert_eq!((&facts["layers"], &facts["model_type"]), (&5.into(), &"glm4_moe_lite".into()));
    // Five layers with one latent row of 64 + 16 halves per token.
    assert_eq!(facts["memory"]["cache_bytes_f16"], 5 * 80 * 2 * 1000);
    let listed: u64 =
        facts["tensors"].as_array().unwrap().iter().map(|tensor| tensor["len_bytes"].as_u64().unwrap()).sum();
    assert_eq!(facts["len_bytes"], listed);
}

#[test]
fn a_broken_model_is_told_by_its_numbers() {
    let copy = Copy::new();
    copy.edit_tensor("lm_head.weight", |bytes| bytes.fill(0));
    let text = miniature().join("heldout.txt");
    let output = run(&["eval", copy.path(), "--text", text.to_str().unwrap(), "--windows", "1", "--json"]);
    assert_eq!(output.status.code(), Some(3));
    let facts: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!((facts["perplexity"].as_f64().unwrap() - 3584.0).abs() < 0.5);
    assert_eq!(facts["broken"].as_array().unwrap().len(), 1);
}

#[test]
fn an_existing_directory_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("precious"), "data").unwrap();
    let error = fail(&["quantize", "marlin-mini", "--out", dir.path().to_str().unwrap()]);
    assert!(error.contains("exists already") && error.contains("hint: choose another --out"), "{error}");
    assert_eq!(std::fs::read_to_string(dir.path().join("precious")).unwrap(), "data");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn damaged_models_are_refused_by_name_and_place() {
    let nan = Copy::new();
    nan.edit_tensor("model.layers.2.self_attn.o_proj.weight", |bytes| {
        bytes[2 * 163..2 * 164].copy_from_slice(&0x7fc0u16.to_le_bytes());
    });
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let error = fail(&["quantize", nan.path(), "--out", out.to_str().unwrap()]);
    let expected =
        "tensor model.layers.2.self_attn.o_proj.weight: row 1, column 3: NaN, expected a finite value";
    assert!(error.contains(expected), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "something was left behind");

    let cut = Copy::new();
    cut.truncate(1_000_000);
    assert!(fail(&["inspect", cut.path()]).contains("model.safetensors"), "a truncated file");

    let narrow = Copy::new();
    narrow.edit("config.json", |config| config["hidden_size"] = 128.into());
    let error = fail(&["inspect", narrow.path()]);
    assert!(
        error.contains("tensor model.embed_tokens.weight: found [3584, 256], expected [3584, 128]"),
        "{error}"
    );

    let missing = Copy::new();
    missing.edit("config.json", |config| config["num_hidden_layers"] = 6.into());
    let error = fail(&["inspect", missing.path()]);
    assert!(error.contains("tensors are missing: model.layers.5.input_layernorm.weight"), "{error}");
}

#[test]
fn a_tokenizer_larger_than_the_vocabulary_is_refused() {
    let copy = Copy::new();
    copy.edit("tokenizer.json", |tokenizer| {
        let mut token = tokenizer["added_tokens"][0].clone();
        token["id"] = 4000.into();
        token["content"] = "<|beyond|>".into();
        tokenizer["added_tokens"].as_array_mut().unwrap().push(token);
    });
    let error = fail(&["run", copy.path(), "--prompt", "x"]);
    assert!(error.contains("3584"), "{error}");
}

#[test]
fn wrong_arguments_say_what_is_right() {
    let error = fail(&["inspect", "no-such-model"]);
    assert!(error.contains("no such file or directory"), "{error}");
    let output = run(&["quantize", "marlin-mini", "--out", "x", "--format", "fp3"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("format fp3: unknown, expected one of fp4, fp4-g32"), "{text}");
    let output = run(&["quantize", "marlin-mini", "--out", "x", "--format", "q4_k"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("q4_k: is only read"));
    let prompt = "word ".repeat(3000);
    let error = fail(&["run", "marlin-mini", "--ctx", "64", "--prompt", &prompt]);
    assert!(error.contains("hint: give more room with --ctx"), "{error}");
}

#[test]
fn kernels_lists_every_kernel_on_both_players() {
    let facts = json(&["kernels"]);
    let rows = facts["kernels"].as_array().unwrap();
    for player in ["cpu", "gpu"] {
        let names: Vec<&str> = rows
            .iter()
            .filter(|row| row["player"] == player)
            .map(|row| row["kernel"].as_str().unwrap())
            .collect();
        let expected: Vec<&str> = marlin_kernel::KERNELS.iter().map(|kernel| kernel.name).collect();
        assert_eq!(names, expected);
    }
    let shaders = facts["shaders"].as_array().unwrap();
    assert_eq!(shaders.len(), marlin_kernel::shader::SHADERS.len());
    for shader in shaders {
        let matrices = shader["needs"].as_str().unwrap().contains("matrices");
        assert_eq!(shader["in_ci"], !matrices, "{shader}");
        assert!(shader["variants"].as_u64().unwrap() > 0 && shader["ran_here"].is_null(), "{shader}");
    }
    let verified = json(&["kernels", "--verify", "--device", "cpu", "--kernel", "add"]);
    let states: Vec<&str> =
        verified["kernels"].as_array().unwrap().iter().map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["verified here", "verified by CI"]);
}

#[test]
fn kernels_writes_every_variant_as_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    let shaders = json(&["kernels", "--kernel", "matmul"])["shaders"].clone();
    let count = || -> u64 {
        let rows = shaders.as_array().unwrap().iter();
        rows.map(|row| row["variants"].as_u64().unwrap()).sum()
    };
    let written = json(&["kernels", "--kernel", "matmul", "--emit", "wgsl", "--out", out]);
    assert_eq!((&written["files"], &written["left_out"]), (&count().into(), &0.into()));
    let files = |kernel: &str| std::fs::read_dir(dir.path().join(kernel)).unwrap().count() as u64;
    assert_eq!(files("matmul"), count());
    for language in ["msl", "spirv"] {
        let written = json(&["kernels", "--kernel", "sample", "--emit", language, "--out", out]);
        assert_eq!(written["left_out"], 0);
    }
    let metal = std::fs::read_to_string(dir.path().join("sample/sample.metal")).unwrap();
    assert!(metal.contains("kernel void main_("), "{metal}");
    let spirv = std::fs::read(dir.path().join("sample/sample.spv")).unwrap();
    assert_eq!(spirv[..4], 0x0723_0203u32.to_le_bytes());
    let error = fail(&["kernels", "--kernel", "matmull"]);
    assert!(error.contains("--kernel matmull: no such kernel, expected one of embed,"), "{error}");
    assert_eq!(run(&["kernels", "--emit", "msl"]).status.code(), Some(2));
}

#[test]
fn completions_and_manual_name_every_command() {
    for command in ["demo", "quantize", "run", "chat", "inspect", "eval", "doctor", "tune", "kernels"] {
        assert!(succeed(&["completions", "bash"]).contains(command));
        assert!(succeed(&["man"]).contains(&command.to_uppercase()));
    }
}

#[test]
fn tune_measures_once_and_what_it_keeps_is_played_with() {
    if !common::has_gpu() {
        return;
    }
    let cache = tempfile::tempdir().unwrap();
    let ask = |args: &[&str]| {
        let output = common::command().args(args).env("MARLIN_CACHE", cache.path()).output().unwrap();
        let notes = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{args:?}: {notes}");
        (serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap(), notes)
    };
    let (first, _) = ask(&["tune", "--device", "gpu", "--json"]);
    assert_eq!(first["measured"], true);
    let trials = first["trials"].as_array().unwrap();
    assert!(trials.len() >= 7, "{first}");
    for trial in trials {
        let candidates = trial["candidates"].as_array().unwrap();
        assert!(
            candidates.len() > 1 && trial["taken"].as_u64().unwrap() < candidates.len() as u64,
            "{trial}"
        );
        assert!(candidates.iter().all(|candidate| candidate[1].as_f64().unwrap() > 0.0), "{trial}");
    }
    let (second, notes) = ask(&["tune", "--device", "gpu", "--json"]);
    assert!(second["measured"] == false && notes.contains("--force"), "{second}: {notes}");
    assert_eq!((&second["tuning"], &second["path"]), (&first["tuning"], &first["path"]));

    // A valid file with other values is played with; a broken one is named and passed over.
    let path = first["path"].as_str().unwrap();
    let write = |text: &str| std::fs::write(path, text).unwrap();
    let whole = std::fs::read_to_string(path).unwrap();
    let mut record: serde_json::Value = serde_json::from_str(&whole).unwrap();
    record["tuning"]["down"] = 4.into();
    record["tuning"]["gate_up"] = 2.into();
    let play = ["run", "marlin-mini", "--prompt", "It was", "--max-tokens", "4", "--device", "gpu"];
    let plain = json(&play);
    let play = [&play[..], &["--json"]].concat();
    write(&record.to_string());
    let (tuned, notes) = ask(&play);
    assert!(!notes.contains("tuning"), "{notes}");
    write(&whole[..whole.len() / 2]);
    let (ignored, notes) = ask(&play);
    assert!(notes.contains("tuning ignored") && notes.contains(path), "{notes}");
    assert_eq!((&tuned["text"], &ignored["text"]), (&plain["text"], &plain["text"]));
    let (doctor, _) = ask(&["doctor", "--device", "gpu", "--kernel", "add", "--json"]);
    assert_eq!(doctor["tuned"][0], false);
    write(&whole);
    let (doctor, _) = ask(&["doctor", "--device", "gpu", "--kernel", "add", "--json"]);
    assert_eq!(doctor["tuned"][0], true);
}
