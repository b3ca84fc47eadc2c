//! The page of a small report: all of it there, none of it executable.

use super::*;
use crate::{CalibrationReport, Measured, RoutingReport};

fn tensor(name: &str, format: &str, relative_mse: Option<f64>) -> TensorReport {
    TensorReport {
        name: name.to_owned(),
        role: if relative_mse.is_some() { "linear" } else { "norm or bias" }.to_owned(),
        format: format.to_owned(),
        rows: 4,
        cols: 8,
        len_bytes: 20,
        relative_mse,
        codes: if format == "fp4" { (0..16).collect() } else { Vec::new() },
        measured: None,
    }
}

fn report() -> Report {
    let mut expert = tensor("model.layers.1.mlp.experts.3.down_proj.weight", "fp4", Some(0.01));
    expert.measured =
        Some(Measured { rows: 0, relative_output_mse: None, fallback: Some("no input seen".to_owned()) });
    let mut q = tensor("model.layers.0.self_attn.q_proj.weight", "fp4", Some(0.02));
    q.measured = Some(Measured { rows: 512, relative_output_mse: Some(0.005), fallback: None });
    let hostile = tensor("<script>alert('x')</script>&\"", "f32", None);
    let mut report = Report::of("a <b> model".to_owned(), vec![expert, q, hostile], vec!["mtp".to_owned()]);
    let routing =
        vec![RoutingReport { layer: "model.layers.1.mlp.experts".to_owned(), tokens: vec![9, 0, 3, 7] }];
    report.calibration = Some(CalibrationReport { tokens: 1024, window: 512, routing });
    report
}

#[test]
fn shows_what_was_measured_in_every_section() {
    let html = page(&report());
    for title in [
        "Formats",
        "Size against",
        "each layer",
        "each expert",
        "Routing",
        "Codes",
        "kept",
        "Rounded without",
    ] {
        assert!(html.contains(title), "{title}");
    }
    // The output error stands for a tensor that has one, the weights' error for the others.
    assert!(html.contains("self_attn.q_proj, layer 0: 5.00e-3"));
    assert!(html.contains("layer 1, expert 3: 1.00e-2"));
    assert!(html.contains("model.layers.1.mlp.experts, expert 0: 9 tokens"));
    assert!(html.contains("code 15: 12.50 %"));
    assert!(html.contains("Calibrated with 1024 tokens in windows of 512."));
    assert!(html.contains("<td>no input seen</td>"));
}

#[test]
fn names_are_text_and_nothing_is_loaded() {
    let html = page(&report());
    assert!(html.contains("a &lt;b&gt; model"));
    for forbidden in ["<script", "<b> model", "http://", "https://", "src=", "url(", "@import"] {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
    assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
}

#[test]
fn a_report_without_experts_or_calibration_has_no_such_sections() {
    let report = Report::of("m".to_owned(), vec![tensor("lm_head.weight", "int8", Some(1e-4))], Vec::new());
    let html = page(&report);
    for absent in ["Routing", "each expert", "Codes", "kept", "Rounded without regard"] {
        assert!(!html.contains(absent), "{absent}");
    }
    assert!(html.contains("Rounded without calibration."));
}
