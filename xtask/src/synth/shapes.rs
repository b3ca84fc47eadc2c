//! The tensors and the configuration of GLM-4.7-Flash (Hugging Face, zai-org/GLM-4.7-Flash), and the
//! same in small. Multi-token prediction, the layer after the last, is left out.

use serde_json::{Map, Value, json};

/// The numbers of a configuration that decide shapes.
#[derive(Clone, Copy, Debug)]
pub struct Shapes {
    pub layers: usize,
    pub vocab: usize,
    pub hidden: usize,
    pub heads: usize,
    pub q_latent: usize,
    pub kv_latent: usize,
    pub nope: usize,
    pub rope: usize,
    pub v: usize,
    pub dense_width: usize,
    pub expert_width: usize,
    pub experts: usize,
    pub top_k: usize,
}

/// The model as published.
pub const GLM_4_7_FLASH: Shapes = Shapes {
    layers: 47,
    vocab: 154_880,
    hidden: 2048,
    heads: 20,
    q_latent: 768,
    kv_latent: 512,
    nope: 192,
    rope: 64,
    v: 256,
    dense_width: 10_240,
    expert_width: 1536,
    experts: 64,
    top_k: 4,
};

/// Odd where the model is odd: heads that are no power of two, latents of different widths.
pub const TINY: Shapes = Shapes {
    layers: 3,
    vocab: 512,
    hidden: 64,
    heads: 5,
    q_latent: 48,
    kv_latent: 32,
    nope: 16,
    rope: 8,
    v: 32,
    dense_width: 160,
    expert_width: 48,
    experts: 8,
    top_k: 4,
};

/// Layers at the start that have no experts.
const DENSE_LAYERS: usize = 1;

/// What a tensor is for, which decides its spread and its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A matrix of a product.
    Linear,
    /// The embedding table or the head.
    Table,
    /// The matrix that scores experts.
    Router,
    /// The weight of a norm: one row.
    Norm,
    /// The bias of the choice of experts: one row.
    Bias,
}

/// A tensor of the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    pub name: String,
    pub rows: usize,
    pub cols: usize,
    pub kind: Kind,
}

impl Shapes {
    /// The id of the first special token: the last 60 ids are theirs.
    pub fn first_special(&self) -> usize {
        self.vocab - 60
    }

    /// config.json.
    pub fn config(&self, layers: usize) -> Map<String, Value> {
        let special = self.first_special();
        let config = json!({
            "architectures": ["Glm4MoeLiteForCausalLM"],
            "model_type": "glm4_moe_lite",
            "dtype": "bfloat16",
            "vocab_size": self.vocab,
            "hidden_size": self.hidden,
            "num_hidden_layers": layers,
            "num_nextn_predict_layers": 0,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "q_lora_rank": self.q_latent,
            "kv_lora_rank": self.kv_latent,
            "qk_nope_head_dim": self.nope,
            "qk_rope_head_dim": self.rope,
            "v_head_dim": self.v,
            "intermediate_size": self.dense_width,
            "moe_intermediate_size": self.expert_width,
            "first_k_dense_replace": DENSE_LAYERS,
            "n_routed_experts": self.experts,
            "n_shared_experts": 1,
            "num_experts_per_tok": self.top_k,
            "n_group": 1,
            "topk_group": 1,
            "norm_topk_prob": true,
            "routed_scaling_factor": 1.8,
            "topk_method": "noaux_tc",
            "rms_norm_eps": 1e-5,
            "rope_theta": 1_000_000,
            "rope_scaling": null,
            "partial_rotary_factor": 1.0,
            "max_position_embeddings": 202_752,
            "attention_bias": false,
            "tie_word_embeddings": false,
            "hidden_act": "silu",
            "pad_token_id": special,
            "eos_token_id": [special, special + 7, special + 9],
        });
        match config {
            Value::Object(config) => config,
            _ => Map::new(),
        }
    }

    /// All tensors in the order of the layers. `split` cuts `kv_b_proj` into the two matrices that
    /// attention uses, as a quantized checkpoint has them.
    pub fn tensors(&self, layers: usize, split: bool) -> Vec<Tensor> {
        let mut list = List(Vec::new());
        list.add("model.embed_tokens", self.vocab, self.hidden, Kind::Table);
        for layer in 0..layers {
            let layer_name = format!("model.layers.{layer}");
            list.add(&format!("{layer_name}.input_layernorm"), 1, self.hidden, Kind::Norm);
            self.attention(&mut list, &format!("{layer_name}.self_attn"), split);
            list.add(&format!("{layer_name}.post_attention_layernorm"), 1, self.hidden, Kind::Norm);
            let name = format!("{layer_name}.mlp");
            if layer < DENSE_LAYERS {
                self.gated(&mut list, &name, self.dense_width);
                continue;
            }
            list.add(&format!("{name}.gate"), self.experts, self.hidden, Kind::Router);
            let (bias, cols) = (format!("{name}.gate.e_score_correction_bias"), self.experts);
            list.0.push(Tensor { name: bias, rows: 1, cols, kind: Kind::Bias });
            for expert in 0..self.experts {
                self.gated(&mut list, &format!("{name}.experts.{expert}"), self.expert_width);
            }
            self.gated(&mut list, &format!("{name}.shared_experts"), self.expert_width);
        }
        list.add("model.norm", 1, self.hidden, Kind::Norm);
        list.add("lm_head", self.vocab, self.hidden, Kind::Table);
        list.0
    }

    fn attention(&self, list: &mut List, name: &str, split: bool) {
        let Shapes { hidden, heads, q_latent, kv_latent, nope, rope, v, .. } = *self;
        list.add(&format!("{name}.q_a_proj"), q_latent, hidden, Kind::Linear);
        list.add(&format!("{name}.q_a_layernorm"), 1, q_latent, Kind::Norm);
        list.add(&format!("{name}.q_b_proj"), heads * (nope + rope), q_latent, Kind::Linear);
        list.add(&format!("{name}.kv_a_proj_with_mqa"), kv_latent + rope, hidden, Kind::Linear);
        list.add(&format!("{name}.kv_a_layernorm"), 1, kv_latent, Kind::Norm);
        if split {
            list.add(&format!("{name}.k_b_proj"), heads * kv_latent, nope, Kind::Linear);
            list.add(&format!("{name}.v_b_proj"), heads * v, kv_latent, Kind::Linear);
        } else {
            list.add(&format!("{name}.kv_b_proj"), heads * (nope + v), kv_latent, Kind::Linear);
        }
        list.add(&format!("{name}.o_proj"), hidden, heads * v, Kind::Linear);
    }

    fn gated(&self, list: &mut List, name: &str, width: usize) {
        list.add(&format!("{name}.gate_proj"), width, self.hidden, Kind::Linear);
        list.add(&format!("{name}.up_proj"), width, self.hidden, Kind::Linear);
        list.add(&format!("{name}.down_proj"), self.hidden, width, Kind::Linear);
    }
}

/// Tensors in order.
struct List(Vec<Tensor>);

impl List {
    fn add(&mut self, name: &str, rows: usize, cols: usize, kind: Kind) {
        self.0.push(Tensor { name: format!("{name}.weight"), rows, cols, kind });
    }
}
