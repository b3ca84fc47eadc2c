//! The commands on a GPU: the same text as on the CPU, and what is said when something does not fit.
//!
//! Without a GPU the tests pass with a message, unless `MARLIN_REQUIRE_GPU=1`.

mod common;

use common::{fail, has_gpu, json, run};

#[test]
fn the_gpu_writes_what_the_cpu_writes() {
    if !has_gpu() {
        return;
    }
    let write = |device: &str, more: &[&str]| {
        let args = ["run", "marlin-mini", "--prompt", "It was a truth", "--max-tokens", "48"];
        let exact = ["--activations", "f32", "--kv", "f32", "--device", device];
        json(&[&args[..], &exact, more].concat())
    };
    for more in
        [&[][..], &["--temperature", "0.8", "--top-p", "0.9", "--repetition-penalty", "1.1", "--seed", "3"]]
    {
        let (cpu, gpu) = (write("cpu", more), write("gpu", more));
        assert_eq!(cpu["text"], gpu["text"], "{more:?}");
        assert_eq!(gpu["new_tokens"], 48);
        assert!(gpu["player"].as_str().unwrap().contains("subgroups"), "{gpu}");
    }
}

#[test]
fn perplexity_and_every_step_agree_with_the_cpu() {
    if !has_gpu() {
        return;
    }
    let text = common::miniature().join("heldout.txt");
    let eval = |device: &str| {
        let args = ["eval", "marlin-mini", "--windows", "1", "--text", text.to_str().unwrap()];
        json(&[&args[..], &["--device", device]].concat())["perplexity"].as_f64().unwrap()
    };
    let (cpu, gpu) = (eval("cpu"), eval("gpu"));
    assert!((gpu / cpu - 1.0).abs() < 1e-4, "{cpu} and {gpu}");

    let compared = json(&["doctor", "--compare", "marlin-mini", "--device", "gpu"]);
    let comparisons = compared["comparisons"].as_array().unwrap();
    assert!(comparisons.len() >= 3);
    assert!(comparisons.iter().all(|comparison| comparison["difference"].is_null()), "{compared}");
}

#[test]
fn a_model_with_experts_is_calibrated_on_a_gpu() {
    if !has_gpu() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let text = common::miniature().join("heldout.txt");
    let quantize = |device: &str| {
        let out = dir.path().join(device);
        let args = ["quantize", "marlin-mini", "--out", out.to_str().unwrap(), "--device", device];
        let text =
            ["--calibrate", text.to_str().unwrap(), "--calibrate-tokens", "256", "--calibrate-ctx", "64"];
        json(&[&args[..], &text].concat())
    };
    let (cpu, gpu) = (quantize("cpu"), quantize("gpu"));
    let errors = |report: &serde_json::Value| -> Vec<f64> {
        let tensors = report["tensors"].as_array().unwrap();
        let outputs = tensors.iter().map(|tensor| tensor["measured"]["relative_output_mse"].as_f64());
        outputs.flatten().collect()
    };
    let (cpu, gpu) = (errors(&cpu), errors(&gpu));
    assert!(cpu.len() > 200 && cpu.len() == gpu.len(), "{} and {}", cpu.len(), gpu.len());
    // A tie that rounds the other way changes a few codes, and all inputs after them.
    let differ = cpu.iter().zip(&gpu).map(|(cpu, gpu)| (cpu - gpu).abs() / cpu.max(1e-6));
    let mean = differ.sum::<f64>() / cpu.len() as f64;
    assert!(mean < 0.1, "output errors differ by {mean}");
}

#[test]
fn benches_count_dispatches_and_measure_kernels() {
    if !has_gpu() {
        return;
    }
    let measured = json(&["bench", "kernels", "--kernel", "moe_route", "--rows", "1,4", "--device", "gpu"]);
    let kernels = measured["kernels"].as_array().unwrap();
    assert_eq!(kernels.len(), 2, "{measured}");
    assert!(kernels.iter().all(|kernel| kernel["microseconds"].as_f64().unwrap() > 0.0), "{measured}");

    let measured = json(&["bench", "model", "marlin-mini", "--depths", "0", "--device", "gpu"]);
    let layers = measured["layers"].as_array().unwrap();
    let sparse = |layer: &&serde_json::Value| layer["layer"].as_str().unwrap().starts_with("layers.");
    assert_eq!(layers.iter().filter(sparse).count(), 5, "{measured}");
    let most = layers.iter().map(|layer| layer["dispatches"].as_u64().unwrap()).max().unwrap();
    assert!(most <= 14, "{most} dispatches in a layer of GLM's");
}

#[test]
fn what_is_not_there_or_does_not_fit_is_said() {
    fn ask<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["run", "marlin-mini", "--prompt", "a", "--max-tokens", "1"], more].concat()
    }
    let error = fail(&ask(&["--device", "gpu:99"]));
    assert!(error.contains("device gpu:99: no such GPU; found"), "{error}");
    let error = fail(&ask(&["--device", "no such name"]));
    assert!(error.contains("doctor"), "{error}");
    let error = fail(&["doctor", "--compare", "marlin-mini", "--device", "cpu"]);
    assert!(error.contains("expected a gpu"), "{error}");
    if !has_gpu() {
        return;
    }
    let error = fail(&ask(&["--device", "gpu", "--device-memory", "0.01"]));
    let numbers = error.contains("10000000 bytes are available") && error.contains("are missing");
    assert!(numbers && error.contains("--ctx"), "{error}");
    let error = fail(&ask(&["--device", "gpu", "--activations", "int8"]));
    assert!(error.contains("a gpu takes f32 or f16"), "{error}");
    let output = run(&["doctor", "--device", "gpu", "--kernel", "rope"]);
    assert!(output.status.success(), "{output:?}");
}
