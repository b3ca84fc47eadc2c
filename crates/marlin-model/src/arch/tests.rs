//! Refusals: configurations and tensors that do not fit, each with the message a user sees. And columns
//! in another order, which must change nothing.

use std::collections::BTreeMap;

use marlin_file::Ordered;
use marlin_format::{Rounding, Weight};
use marlin_kernel::{Batch, Player, Random, ReferencePlayer, SequenceRows, plan::Op};
use serde_json::{Value, json};

use super::*;
use crate::Tensors;

struct Fake(BTreeMap<String, Weight>);

impl Tensors for Fake {
    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn weight(&self, name: &str) -> Result<Weight, Error> {
        Ok(self.0[name].clone())
    }
}

fn zeros(rows: usize, cols: usize) -> Weight {
    let format = marlin_format::by_name("f32").unwrap();
    Weight::encode(format, rows, cols, &vec![0.0; rows * cols], Rounding::default()).unwrap()
}

fn llama() -> Value {
    json!({
        "model_type": "llama", "hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 1,
        "num_attention_heads": 3, "num_key_value_heads": 1, "vocab_size": 7, "tie_word_embeddings": true,
    })
}

fn llama_tensors() -> Fake {
    let layer = |name: &str| format!("model.layers.0.{name}.weight");
    let list = [
        ("model.embed_tokens.weight".to_owned(), zeros(7, 12)),
        ("model.norm.weight".to_owned(), zeros(1, 12)),
        (layer("input_layernorm"), zeros(1, 12)),
        (layer("post_attention_layernorm"), zeros(1, 12)),
        (layer("self_attn.q_proj"), zeros(12, 12)),
        (layer("self_attn.k_proj"), zeros(4, 12)),
        (layer("self_attn.v_proj"), zeros(4, 12)),
        (layer("self_attn.o_proj"), zeros(12, 12)),
        (layer("mlp.gate_proj"), zeros(20, 12)),
        (layer("mlp.up_proj"), zeros(20, 12)),
        (layer("mlp.down_proj"), zeros(12, 20)),
    ];
    Fake(list.into())
}

fn plan(config: &Value, tensors: &dyn Tensors) -> Result<Plan, Error> {
    let config = Config::parse(config.to_string().as_bytes())?;
    let architecture = by_model_type(config.text_or("model_type", "")?)?;
    let mut builder = Builder::new(tensors, crate::online::block(&config)?);
    (architecture.build)(&config, &mut builder)?;
    builder.finish()
}

fn refusal(change: impl FnOnce(&mut Value, &mut Fake)) -> String {
    let (mut config, mut tensors) = (llama(), llama_tensors());
    change(&mut config, &mut tensors);
    plan(&config, &tensors).unwrap_err().to_string()
}

#[test]
fn a_model_that_fits_becomes_a_plan() {
    let plan = plan(&llama(), &llama_tensors()).unwrap();
    assert_eq!((plan.vocab_size(), plan.caches.len(), plan.caches[0].width), (7, 1, 8));
}

#[test]
fn missing_tensors_are_all_named_at_once() {
    let text = refusal(|_, tensors| {
        tensors.0.remove("model.norm.weight");
        tensors.0.remove("model.layers.0.mlp.up_proj.weight");
    });
    let expected = "2 of the tensors are missing: model.layers.0.mlp.up_proj.weight, model.norm.weight";
    assert_eq!(text, expected);
}

#[test]
fn a_wrong_shape_is_shown_beside_the_right_one() {
    let text = refusal(|_, tensors| {
        tensors.0.insert("model.layers.0.self_attn.k_proj.weight".into(), zeros(5, 12));
    });
    assert_eq!(text, "tensor model.layers.0.self_attn.k_proj.weight: found [5, 12], expected [4, 12]");
}

#[test]
fn an_unknown_architecture_lists_the_known_ones() {
    let text = refusal(|config, _| config["model_type"] = "mamba".into());
    assert!(
        text.starts_with("model_type mamba: unknown architecture, supported are glm4_moe_lite, llama,"),
        "{text}"
    );
}

#[test]
fn impossible_numbers_are_refused_by_key() {
    let cases = [
        ("hidden_size", json!(0), "config hidden_size: found 0, expected an integer from 1 to 2^31"),
        (
            "num_hidden_layers",
            json!(-3),
            "config num_hidden_layers: found -3, expected an integer from 1 to 2^31",
        ),
        (
            "vocab_size",
            json!("many"),
            "config vocab_size: found \"many\", expected an integer from 1 to 2^31",
        ),
        (
            "num_key_value_heads",
            json!(2),
            "config num_key_value_heads: found 2, expected a divisor of 3 heads",
        ),
        ("head_dim", json!(5), "config head_dim: found 5, expected an even number of at least 2"),
        ("hidden_act", json!("relu"), "config hidden_act: found \"relu\", expected silu"),
        (
            "rope_scaling",
            json!({"rope_type": "dynamic"}),
            "config rope_scaling.rope_type: found \"dynamic\", expected default, linear, llama3 or yarn",
        ),
        (
            "rope_scaling",
            json!({"rope_type": "linear"}),
            "config rope_scaling.factor: found nothing, expected a number",
        ),
    ];
    for (key, value, expected) in cases {
        assert_eq!(refusal(|config, _| config[key] = value.clone()), expected);
    }
    let text = refusal(|config, _| drop(config.as_object_mut().unwrap().remove("hidden_size")));
    assert_eq!(text, "config hidden_size: found nothing, expected an integer from 1 to 2^31");
}

#[test]
fn a_router_must_be_the_sigmoid_one() {
    let mut config = llama();
    config["model_type"] = "glm4_moe_lite".into();
    config["scoring_func"] = "softmax".into();
    let text = plan(&config, &llama_tensors()).unwrap_err().to_string();
    assert_eq!(text, "config scoring_func: found \"softmax\", expected sigmoid");
}

/// The tensors of another, some with their columns in an order drawn from their name's length.
struct Sorted(Fake);

impl Sorted {
    /// `q` and `k` share an order, `v` has another, `up` none.
    fn order(name: &str, cols: usize) -> Option<Vec<u32>> {
        let seed = match name {
            _ if name.contains("q_proj") || name.contains("k_proj") => 1,
            _ if name.contains("v_proj") || name.contains("o_proj") || name.contains("down_proj") => 2,
            _ if name.contains("gate_proj") || name.contains("lm_head") => 3,
            _ => return None,
        };
        Some(Random::new(seed).permutation(cols).into_iter().map(|col| col as u32).collect())
    }
}

impl Tensors for Sorted {
    fn has(&self, name: &str) -> bool {
        self.0.has(name)
    }

    fn weight(&self, name: &str) -> Result<Weight, Error> {
        self.0.weight(name)
    }

    fn ordered(&self, name: &str) -> Result<Ordered, Error> {
        let weight = self.weight(name)?;
        let (rows, cols) = (weight.rows(), weight.cols());
        let Some(order) = Sorted::order(name, cols) else { return Ok(weight.into()) };
        let values = weight.to_f32();
        let sorted = (0..rows).flat_map(|row| order.iter().map(move |col| row * cols + *col as usize));
        let sorted: Vec<f32> = sorted.map(|at| values[at]).collect();
        Ok(Ordered { weight: Weight::from_f32(rows, cols, &sorted).unwrap(), order: Some(order) })
    }
}

fn logits(plan: Plan) -> Vec<f32> {
    let mut player = ReferencePlayer::new(plan, 4, 2).unwrap();
    let batch = Batch {
        tokens: vec![3, 0, 6],
        positions: vec![0, 1, 2],
        sequences: vec![SequenceRows { rows: 0..3, pages: vec![1, 0] }],
        outputs: vec![0, 2],
        ..Batch::default()
    };
    let (steps, logits) = (player.plan().steps.len(), player.plan().logits.unwrap());
    player.begin(&batch).unwrap();
    player.run(0..steps).unwrap();
    player.read(logits).unwrap()
}

#[test]
fn sorted_columns_give_the_same_logits() {
    let mut config = llama();
    config["tie_word_embeddings"] = false.into();
    let mut tensors = llama_tensors();
    tensors.0.insert("lm_head.weight".into(), zeros(7, 12));
    let mut random = Random::new(5);
    for weight in tensors.0.values_mut() {
        let values = random.normals(weight.rows() * weight.cols());
        *weight = Weight::from_f32(weight.rows(), weight.cols(), &values).unwrap();
    }
    let natural = plan(&config, &tensors).unwrap();
    let sorted = plan(&config, &Sorted(tensors)).unwrap();
    let permutes = sorted.steps.iter().filter(|step| matches!(step.op, Op::Permute { .. })).count();
    // Two of q, k and v; one each of o, gate, down and head.
    assert_eq!(permutes, 6);
    let (natural, sorted) = (logits(natural), logits(sorted));
    for (natural, sorted) in natural.iter().zip(&sorted) {
        assert!((natural - sorted).abs() <= 1e-5 * natural.abs().max(1.0), "{natural}, {sorted}");
    }
    assert!(natural.iter().any(|value| value.abs() > 0.1));
}

#[test]
fn what_gpt_oss_cannot_do_is_refused_by_name() {
    let config = |key: &str, value: Value| {
        let mut config = llama();
        config["model_type"] = "gpt_oss".into();
        config["rope_scaling"] = json!({"rope_type": "default"});
        config["num_local_experts"] = 2.into();
        config["num_experts_per_tok"] = 1.into();
        config[key] = value;
        plan(&config, &llama_tensors()).unwrap_err().to_string()
    };
    assert_eq!(config("swiglu_alpha", json!(1.5)), "config swiglu_alpha: found 1.5, expected 1.702");
    let rope = config("rope_scaling", Value::Null);
    assert_eq!(rope, "config rope_scaling: found nothing, expected settings of type yarn");
    let missing = config("swiglu_limit", json!(7.0));
    assert!(missing.contains("model.layers.0.self_attn.sinks"), "{missing}");
    assert!(missing.contains("model.layers.0.mlp.experts.0.up_proj.bias"), "{missing}");
}
