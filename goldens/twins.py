"""GGUF twins: the weights of a checkpoint of this folder under GGUF names, laid out as llama.cpp's converter
lays them.

What changes on the way: llama's Q and K rows are permuted per head (rotary pairs become neighbours), gemma's
norms get their 1 added, experts are merged into one 3-D tensor, MLA's kv_b is split and its K half
transposed, and llama-3 rope scaling becomes a tensor of frequency factors. Norms, biases and routers are F32,
matrices keep the checkpoint's type.
"""

import json
import math
import re

import gguf
import torch
from gguf import GGMLQuantizationType as Type
from safetensors.torch import load_file

# checkpoint -> GGUF architecture
TWINS = {
    "llama": "llama",
    "llama-rope3": "llama",
    "smollm": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "qwen3-moe": "qwen3moe",
    "gemma3-text": "gemma3",
    "glm4-moe-lite": "deepseek2",
}

GLOBAL = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
LAYER = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.q_a_proj": "attn_q_a",
    "self_attn.q_a_layernorm": "attn_q_a_norm",
    "self_attn.q_b_proj": "attn_q_b",
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp",
    "mlp.shared_experts.gate_proj": "ffn_gate_shexp",
    "mlp.shared_experts.up_proj": "ffn_up_shexp",
    "mlp.shared_experts.down_proj": "ffn_down_shexp",
}
GEMMA_LAYER = {
    **LAYER,
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
TYPES = {torch.float32: Type.F32, torch.float16: Type.F16, torch.bfloat16: Type.BF16}


def permuted(weight, heads):
    """Rows of each head: [first half | second half] -> pairs (i, i + half) side by side, as llama.cpp's rope
    wants."""
    rows, cols = weight.shape
    return weight.view(heads, 2, rows // heads // 2, cols).transpose(1, 2).reshape(rows, cols)


def layer_tensors(layer, name, value, arch, config):
    """The GGUF tensors one checkpoint tensor of a layer becomes; experts are merged elsewhere."""
    stem, _, kind = name.rpartition(".")
    if name == "mlp.gate.e_score_correction_bias":
        return {f"blk.{layer}.exp_probs_b.bias": value}
    if stem == "self_attn.kv_b_proj":
        heads, nope, rank = config["num_attention_heads"], config["qk_nope_head_dim"], config["kv_lora_rank"]
        per_head = value.view(heads, -1, rank)
        return {
            f"blk.{layer}.attn_k_b.weight": per_head[:, :nope].transpose(1, 2),
            f"blk.{layer}.attn_v_b.weight": per_head[:, nope:],
        }
    if arch == "llama" and stem in ("self_attn.q_proj", "self_attn.k_proj"):
        value = permuted(
            value, config["num_attention_heads" if stem.endswith("q_proj") else "num_key_value_heads"]
        )
    return {f"blk.{layer}.{(GEMMA_LAYER if arch == 'gemma3' else LAYER)[stem]}.{kind}": value}


def convert(tensors, arch, config):
    out, experts = {}, {}
    for name, value in tensors.items():
        if arch == "gemma3" and "norm" in name:
            value = value.float() + 1
        inside = re.fullmatch(r"model\.layers\.(\d+)\.(.*)", name)
        if not inside:
            out[GLOBAL[name]] = value
            continue
        layer, rest = int(inside[1]), inside[2]
        expert = re.fullmatch(r"mlp\.experts\.(\d+)\.(\w+)_proj\.weight", rest)
        if expert:
            experts.setdefault(f"blk.{layer}.ffn_{expert[2]}_exps.weight", {})[int(expert[1])] = value
        else:
            out |= layer_tensors(layer, rest, value, arch, config)
    out |= {name: torch.stack([parts[number] for number in sorted(parts)]) for name, parts in experts.items()}
    scaling = config.get("rope_scaling") or {}
    if scaling.get("rope_type") == "llama3":
        out["rope_freqs.weight"] = torch.tensor(llama3_factors(config, scaling))
    return out


def llama3_factors(config, scaling):
    """What each frequency is divided by: 1 for short waves, `factor` for long ones, a smooth step between."""
    dim = config["hidden_size"] // config["num_attention_heads"]
    low, high, original = (
        scaling["low_freq_factor"],
        scaling["high_freq_factor"],
        scaling["original_max_position_embeddings"],
    )
    factors = []
    for pair in range(dim // 2):
        wavelength = 2 * math.pi * config["rope_theta"] ** (2 * pair / dim)
        smooth = min(max((original / wavelength - low) / (high - low), 0.0), 1.0)
        factors.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return factors


def describe(writer, arch, config):
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(float(config["rope_theta"]))
    writer.add_vocab_size(config["vocab_size"])
    if arch == "deepseek2":
        rope, rank = config["qk_rope_head_dim"], config["kv_lora_rank"]
        writer.add_head_count_kv(1)
        writer.add_q_lora_rank(config["q_lora_rank"])
        writer.add_kv_lora_rank(rank)
        writer.add_key_length(rank + rope)
        writer.add_value_length(rank)
        writer.add_key_length_mla(config["qk_nope_head_dim"] + rope)
        writer.add_value_length_mla(config["v_head_dim"])
        writer.add_rope_dimension_count(rope)
        writer.add_leading_dense_block_count(config["first_k_dense_replace"])
        writer.add_expert_count(config["n_routed_experts"])
        writer.add_expert_used_count(config["num_experts_per_tok"])
        writer.add_expert_shared_count(config["n_shared_experts"])
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
        writer.add_expert_weights_scale(config["routed_scaling_factor"])
        writer.add_expert_weights_norm(config["norm_topk_prob"])
        writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
        return
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(head_dim)
    if "head_dim" in config:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if arch == "gemma3":
        writer.add_sliding_window(config["sliding_window"])
    if arch == "qwen3moe":
        writer.add_expert_count(config["num_experts"])
        writer.add_expert_used_count(config["num_experts_per_tok"])
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])


def add_tokenizer(writer, size):
    """A minimal byte-level BPE: printable ASCII, space and newline as G- and C-dots, doubled letters, one
    control token."""
    tokens = [chr(code) for code in range(33, 127)] + ["\u0120", "\u010a"]
    tokens = tokens[: size - 1]
    merges = []
    while len(tokens) < size - 1:
        left, right = tokens[len(merges)], tokens[len(merges) + 1]
        merges.append(f"{left} {right}")
        tokens.append(left + right)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens + ["<|endoftext|>"])
    writer.add_token_types([gguf.TokenType.NORMAL] * (size - 1) + [gguf.TokenType.CONTROL])
    writer.add_token_merges(merges)
    writer.add_eos_token_id(size - 1)


def make(name, folder):
    """Writes model.gguf beside the checkpoint; returns a line about it."""
    arch = TWINS[name]
    config = json.loads((folder / "config.json").read_text())
    tensors = {}
    for path in sorted(folder.glob("model*.safetensors")):
        tensors |= load_file(path)
    writer = gguf.GGUFWriter(folder / "model.gguf", arch)
    writer.add_name(name)
    describe(writer, arch, config)
    add_tokenizer(writer, config["vocab_size"])
    converted = convert(tensors, arch, config)
    for key, value in converted.items():
        plain = value.dim() == 1 or key.endswith("ffn_gate_inp.weight")
        kind = Type.F32 if plain else TYPES[value.dtype]
        value = (value.float() if plain else value).contiguous()
        if kind == Type.BF16:
            raw = value.view(torch.int16).numpy().view("u1")
            writer.add_tensor(key, raw, raw_shape=raw.shape, raw_dtype=kind)
        else:
            writer.add_tensor(key, value.numpy(), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return f"{arch} GGUF, {len(converted)} tensors, {(folder / 'model.gguf').stat().st_size} bytes"
