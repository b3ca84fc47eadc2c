"""Tiny random checkpoints, one or more per architecture, and the logits transformers computes from their
files.

A row of CHECKPOINTS is a config.json as it stands on disk, plus how the weights are stored. The weights are
drawn per tensor name from a seeded generator, written the way published checkpoints name them, and read back
by transformers from those files: the golden is a function of the folder and of nothing else.
"""

import dataclasses
import json
import zlib

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

PROMPTS, LENGTH = 2, 72


@dataclasses.dataclass
class Checkpoint:
    config: dict
    dtype: torch.dtype = torch.float32
    shards: int = 1
    prefix: tuple = ()  # (from, to) pairs for the start of a tensor's name, first match wins
    mxfp4: bool = False  # experts as blocks of E2M1 codes and their E8M0 scales


def llama_like(model_type, architecture, **extra):
    return {
        "architectures": [architecture],
        "model_type": model_type,
        "hidden_act": "silu",
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0,
        "vocab_size": 128,
        "num_hidden_layers": 2,
        "tie_word_embeddings": False,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "initializer_range": 0.02,
        "use_cache": True,
        **extra,
    }


def glm(**extra):
    """The published spelling of GLM-4.7-Flash: rope_theta, first_k_dense_replace, no scoring_func."""
    return {
        "architectures": ["Glm4MoeLiteForCausalLM"],
        "model_type": "glm4_moe_lite",
        "hidden_act": "silu",
        "attention_bias": False,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-05,
        "rope_theta": 1000000,
        "rope_scaling": None,
        "partial_rotary_factor": 1.0,
        "tie_word_embeddings": False,
        "first_k_dense_replace": 1,
        "num_nextn_predict_layers": 0,
        "topk_method": "noaux_tc",
        "n_group": 1,
        "topk_group": 1,
        "norm_topk_prob": True,
        "routed_scaling_factor": 1.8,
        "n_shared_experts": 1,
        "vocab_size": 120,
        "eos_token_id": [119, 117, 115],
        "pad_token_id": 119,
        **extra,
    }


def glm_v5(**extra):
    """The spelling transformers 5 writes: rope_parameters and mlp_layer_types instead."""
    old = (
        "rope_theta",
        "rope_scaling",
        "partial_rotary_factor",
        "first_k_dense_replace",
        "num_nextn_predict_layers",
        "topk_method",
    )
    config = {key: value for key, value in glm().items() if key not in old}
    rope = {"rope_theta": 10000.0, "rope_type": "default", "partial_rotary_factor": 1.0}
    return {**config, "rope_interleave": True, "rope_parameters": rope, **extra}


def gpt_oss(**extra):
    """The published spelling of gpt-oss, smaller; the limit is where it matters for weights like these."""
    return {
        "architectures": ["GptOssForCausalLM"],
        "model_type": "gpt_oss",
        "hidden_act": "silu",
        "attention_bias": True,
        "attention_dropout": 0.0,
        "max_position_embeddings": 256,
        "initial_context_length": 32,
        "rms_norm_eps": 1e-05,
        "rope_theta": 150000,
        "rope_scaling": {
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "factor": 8.0,
            "original_max_position_embeddings": 32,
            "rope_type": "yarn",
            "truncate": False,
        },
        "sliding_window": 24,
        "swiglu_limit": 1.25,
        "tie_word_embeddings": False,
        "vocab_size": 128,
        "pad_token_id": 127,
        "eos_token_id": 126,
        **extra,
    }


SMALL_GLM = {
    "hidden_size": 48,
    "intermediate_size": 72,
    "moe_intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
    "q_lora_rank": 40,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 24,
    "qk_rope_head_dim": 16,
    "v_head_dim": 20,
    "n_routed_experts": 9,
    "num_experts_per_tok": 3,
}

GEMMA_TEXT = {
    "hidden_activation": "gelu_pytorch_tanh",
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-06,
    "attention_bias": False,
    "bos_token_id": 2,
    "eos_token_id": 1,
    "pad_token_id": 0,
}

CHECKPOINTS = {
    "glm4-moe-lite": Checkpoint(
        glm(
            hidden_size=80,
            intermediate_size=112,
            moe_intermediate_size=24,
            num_hidden_layers=3,
            num_attention_heads=5,
            num_key_value_heads=5,
            q_lora_rank=48,
            kv_lora_rank=32,
            qk_nope_head_dim=24,
            qk_rope_head_dim=16,
            v_head_dim=20,
            n_routed_experts=13,
            num_experts_per_tok=4,
        ),
        torch.bfloat16,
        shards=3,
    ),
    "glm4-moe-lite-v5": Checkpoint(glm_v5(**SMALL_GLM, mlp_layer_types=["dense", "sparse"])),
    "glm4-moe-lite-groups": Checkpoint(
        glm(
            **{
                **SMALL_GLM,
                "n_routed_experts": 12,
                "n_group": 2,
                "topk_group": 1,
                "norm_topk_prob": False,
                "routed_scaling_factor": 2.5,
                "n_shared_experts": 2,
            }
        ),
        torch.float16,
    ),
    "glm4-moe-lite-full-q": Checkpoint(glm(**{**SMALL_GLM, "q_lora_rank": None}), torch.bfloat16),
    "llama": Checkpoint(
        llama_like(
            "llama",
            "LlamaForCausalLM",
            hidden_size=48,
            intermediate_size=88,
            num_attention_heads=3,
            num_key_value_heads=1,
            vocab_size=112,
        )
    ),
    "llama-rope3": Checkpoint(
        llama_like(
            "llama",
            "LlamaForCausalLM",
            hidden_size=96,
            intermediate_size=104,
            num_attention_heads=6,
            num_key_value_heads=3,
            tie_word_embeddings=True,
            rope_theta=500000.0,
            rope_scaling={
                "factor": 8.0,
                "high_freq_factor": 4.0,
                "low_freq_factor": 1.0,
                "original_max_position_embeddings": 32,
                "rope_type": "llama3",
            },
        ),
        torch.bfloat16,
    ),
    "mistral": Checkpoint(
        llama_like(
            "mistral",
            "MistralForCausalLM",
            hidden_size=80,
            intermediate_size=112,
            num_attention_heads=5,
            num_key_value_heads=1,
            sliding_window=None,
            vocab_size=96,
        ),
        torch.bfloat16,
    ),
    "mistral-window": Checkpoint(
        llama_like(
            "mistral",
            "MistralForCausalLM",
            hidden_size=48,
            intermediate_size=80,
            num_attention_heads=3,
            num_key_value_heads=3,
            head_dim=24,
            sliding_window=24,
            rope_theta=1000000.0,
        )
    ),
    "smollm": Checkpoint(
        llama_like(
            "llama",
            "LlamaForCausalLM",
            hidden_size=72,
            intermediate_size=104,
            num_attention_heads=9,
            num_key_value_heads=3,
            num_hidden_layers=3,
            tie_word_embeddings=True,
            rope_theta=100000,
            rope_interleaved=False,
            vocab_size=160,
        ),
        torch.bfloat16,
    ),
    "qwen2": Checkpoint(
        llama_like(
            "qwen2",
            "Qwen2ForCausalLM",
            hidden_size=112,
            intermediate_size=120,
            num_attention_heads=7,
            num_key_value_heads=1,
            tie_word_embeddings=True,
            rms_norm_eps=1e-06,
            rope_theta=1000000.0,
            sliding_window=32,
            max_window_layers=2,
            use_sliding_window=False,
        ),
        torch.float16,
    ),
    "qwen3": Checkpoint(
        llama_like(
            "qwen3",
            "Qwen3ForCausalLM",
            hidden_size=48,
            intermediate_size=88,
            num_attention_heads=3,
            num_key_value_heads=1,
            head_dim=32,
            attention_bias=False,
            rms_norm_eps=1e-06,
            rope_theta=1000000,
            sliding_window=None,
            use_sliding_window=False,
            max_window_layers=2,
        )
    ),
    "qwen3-moe": Checkpoint(
        llama_like(
            "qwen3_moe",
            "Qwen3MoeForCausalLM",
            hidden_size=72,
            intermediate_size=112,
            moe_intermediate_size=40,
            num_attention_heads=5,
            num_key_value_heads=1,
            head_dim=16,
            num_experts=7,
            num_experts_per_tok=3,
            norm_topk_prob=True,
            decoder_sparse_step=1,
            mlp_only_layers=[],
            attention_bias=False,
            rms_norm_eps=1e-06,
            rope_theta=1000000.0,
        ),
        torch.float16,
    ),
    "qwen3-moe-mixed": Checkpoint(
        llama_like(
            "qwen3_moe",
            "Qwen3MoeForCausalLM",
            hidden_size=48,
            intermediate_size=72,
            moe_intermediate_size=24,
            num_hidden_layers=4,
            num_attention_heads=3,
            num_key_value_heads=3,
            head_dim=16,
            num_experts=7,
            num_experts_per_tok=2,
            norm_topk_prob=False,
            decoder_sparse_step=2,
            mlp_only_layers=[3],
            attention_bias=False,
            tie_word_embeddings=True,
            rms_norm_eps=1e-06,
        ),
        torch.bfloat16,
    ),
    "gpt-oss": Checkpoint(
        gpt_oss(
            hidden_size=48,
            intermediate_size=40,
            num_hidden_layers=3,
            num_attention_heads=6,
            num_key_value_heads=2,
            head_dim=24,
            num_local_experts=7,
            num_experts_per_tok=3,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        ),
        torch.bfloat16,
    ),
    # As published: no `layer_types`, the experts in MXFP4.
    "gpt-oss-mxfp4": Checkpoint(
        gpt_oss(
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=5,
            num_key_value_heads=1,
            head_dim=16,
            num_local_experts=5,
            num_experts_per_tok=2,
            experts_per_token=2,
            quantization_config={
                "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router"],
                "quant_method": "mxfp4",
            },
        ),
        torch.bfloat16,
        mxfp4=True,
    ),
    "gemma3-text": Checkpoint(
        {
            **GEMMA_TEXT,
            "architectures": ["Gemma3ForCausalLM"],
            "model_type": "gemma3_text",
            "hidden_size": 48,
            "intermediate_size": 72,
            "num_hidden_layers": 7,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "head_dim": 24,
            "query_pre_attn_scalar": 24,
            "sliding_window": 16,
            "sliding_window_pattern": 6,
            "rope_theta": 1000000.0,
            "rope_local_base_freq": 10000.0,
            "rope_scaling": None,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
            "vocab_size": 128,
        },
        torch.float16,
    ),
    "gemma3-softcap": Checkpoint(
        {
            **GEMMA_TEXT,
            "architectures": ["Gemma3ForCausalLM"],
            "model_type": "gemma3_text",
            "hidden_size": 80,
            "intermediate_size": 112,
            "num_hidden_layers": 3,
            "num_attention_heads": 5,
            "num_key_value_heads": 5,
            "head_dim": 16,
            "query_pre_attn_scalar": 20,
            "sliding_window": 20,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "rope_parameters": {
                "full_attention": {"rope_theta": 500000.0, "rope_type": "default"},
                "sliding_attention": {"rope_theta": 5000.0, "rope_type": "default"},
            },
            "attn_logit_softcapping": None,
            "final_logit_softcapping": 3.0,
            "tie_word_embeddings": True,
            "vocab_size": 96,
        },
        torch.bfloat16,
    ),
    # As the published 4b and larger: text and vision in one file, the text config nested, `language_model.`
    # before its names.
    "gemma3": Checkpoint(
        {
            "architectures": ["Gemma3ForConditionalGeneration"],
            "model_type": "gemma3",
            "boi_token_index": 90,
            "eoi_token_index": 91,
            "image_token_index": 92,
            "mm_tokens_per_image": 4,
            "eos_token_id": [1, 95],
            "initializer_range": 0.02,
            "text_config": {
                **GEMMA_TEXT,
                "model_type": "gemma3_text",
                "hidden_size": 80,
                "intermediate_size": 96,
                "num_hidden_layers": 4,
                "num_attention_heads": 5,
                "num_key_value_heads": 1,
                "head_dim": 24,
                "query_pre_attn_scalar": 32,
                "sliding_window": 16,
                "sliding_window_pattern": 3,
                "vocab_size": 100,
                "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            },
            "vision_config": {
                "model_type": "siglip_vision_model",
                "hidden_size": 16,
                "intermediate_size": 24,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "image_size": 16,
                "patch_size": 4,
                "vision_use_head": False,
            },
        },
        torch.bfloat16,
        prefix=(
            ("model.language_model.", "language_model.model."),
            ("lm_head.", "language_model.lm_head."),
            ("model.vision_tower.", "vision_tower.vision_model."),
            ("model.multi_modal_projector.", "multi_modal_projector."),
        ),
    ),
}


def draw(name, shape, hidden, one_plus_norms, tied):
    """Weights with a realistic spread: heavy-tailed matrices of gain about 1, norms around 1, biases that
    matter."""
    rng = np.random.default_rng([20261123, zlib.crc32(name.encode())])
    if name.endswith("e_score_correction_bias"):
        values = 0.3 + 0.1 * rng.standard_normal(shape)  # a large common offset, as in the real model
    elif "norm" in name and name.endswith("weight"):
        values = 0.2 * rng.standard_normal(shape) + (0 if one_plus_norms else 1)
    elif name.endswith("bias"):
        values = 0.2 * rng.standard_normal(shape)
    elif name.endswith("sinks"):
        values = 1.5 * rng.standard_normal(shape)
    elif "embed_tokens" in name:
        values = rng.standard_normal(shape) * (1.5 / np.sqrt(hidden) if tied else 0.5)
    elif name.endswith("lm_head.weight"):
        values = rng.standard_normal(shape) * 1.5 / np.sqrt(hidden)
    elif name.endswith(("mlp.gate.weight", "mlp.router.weight")):
        values = rng.standard_normal(shape) * 2 / np.sqrt(hidden)
    else:
        values = rng.standard_t(5, shape) * np.sqrt(3 / 5) / np.sqrt(shape[-1])
    return torch.from_numpy(values.astype(np.float32))


def published(state, model_type):
    """Names as checkpoints on disk have them: one tensor per expert and matrix; transformers fuses them when
    it loads. Those of gpt-oss are fused on disk."""
    for name, value in state.items():
        if model_type == "gpt_oss":
            yield name, value
        elif name.endswith("experts.gate_up_proj"):
            for expert, both in enumerate(value):
                for part, matrix in zip(("gate", "up"), both.chunk(2)):
                    yield name.replace("gate_up_proj", f"{expert}.{part}_proj.weight"), matrix
        elif name.endswith("experts.down_proj"):
            for expert, matrix in enumerate(value):
                yield name.replace("down_proj", f"{expert}.down_proj.weight"), matrix
        else:
            yield name, value


def make(name, folder):
    """Writes config.json, the weights and golden.safetensors; returns a line about them."""
    checkpoint = CHECKPOINTS[name]
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(
        json.dumps({**checkpoint.config, "torch_dtype": str(checkpoint.dtype)[6:]}, indent=2) + "\n"
    )
    config = transformers.AutoConfig.from_pretrained(folder)
    architecture = getattr(transformers, checkpoint.config["architectures"][0])
    text, gemma = config.get_text_config(), config.model_type.startswith("gemma")
    tied = text.tie_word_embeddings

    tensors = {}
    for key, value in published(architecture(config).float().state_dict(), config.model_type):
        if key == "lm_head.weight" and tied:
            continue
        start, to = next((pair for pair in checkpoint.prefix if key.startswith(pair[0])), ("", ""))
        key = to + key[len(start) :]
        drawn = draw(key, tuple(value.shape), text.hidden_size, gemma, tied)
        keep = key.endswith("e_score_correction_bias")
        if checkpoint.mxfp4 and key.endswith(("experts.gate_up_proj", "experts.down_proj")):
            tensors[f"{key}_blocks"], tensors[f"{key}_scales"] = blocks_and_scales(drawn)
        else:
            tensors[key] = (drawn if keep else drawn.to(checkpoint.dtype)).contiguous()
    write_shards(folder, tensors, checkpoint.shards)

    ids, logits = oracle(architecture, folder, text.vocab_size, checkpoint.mxfp4)
    save_file({"input_ids": ids, "logits": logits}, folder / "golden.safetensors")
    size = sum(path.stat().st_size for path in folder.glob("model*.safetensors"))
    return f"{len(tensors)} tensors, {size} bytes, logits {list(logits.shape)} std {logits.std():.3f}"


def blocks_and_scales(matrices):
    """Experts `[experts, inputs, outputs]` as codes `[experts, outputs, inputs / 32, 16]`, the even input in
    the low nibble, and scales 2^(s - 127)."""
    groups = matrices.transpose(1, 2).unflatten(2, (-1, 32))
    exponents = groups.abs().amax(-1).log2().floor() - 2
    magnitudes = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    scaled = groups / exponents.exp2().unsqueeze(-1)
    codes = (scaled.abs().unsqueeze(-1) - magnitudes).abs().argmin(-1) + 8 * (scaled < 0)
    blocks = codes[..., ::2] + 16 * codes[..., 1::2]
    return blocks.to(torch.uint8).contiguous(), (exponents + 127).to(torch.uint8).contiguous()


def write_shards(folder, tensors, shards):
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names, index = list(tensors), {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = names[number * len(names) // shards : (number + 1) * len(names) // shards]
        save_file({key: tensors[key] for key in part}, folder / file, metadata={"format": "pt"})
        index |= {key: file for key in part}
    total = sum(value.numel() * value.element_size() for value in tensors.values())
    text = json.dumps(
        {"metadata": {"total_size": total}, "weight_map": dict(sorted(index.items()))}, indent=2
    )
    (folder / "model.safetensors.index.json").write_text(text + "\n")


@torch.no_grad()
def oracle(architecture, folder, vocab, mxfp4):
    """Loads the folder and runs it in f32. Takes the first seeded prompts whose outputs no rounding can tip
    over.

    Prompts are rejected when a relative change of 1e-5 in every weight moves a logit by 1e-3 or changes an
    argmax: a router or an argmax stood on an edge there, and no other implementation could be held to it.
    """
    options = {"quantization_config": transformers.Mxfp4Config(dequantize=True)} if mxfp4 else {}
    model, report = architecture.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True, **options
    )
    problems = {key: value for key, value in report.items() if value}
    assert not problems, problems
    model.float().eval()
    exact = {key: value.clone() for key, value in model.state_dict().items()}
    for seed in range(100):
        ids = torch.from_numpy(np.random.default_rng(seed).integers(3, vocab - 12, (PROMPTS, LENGTH)))
        logits = model(input_ids=ids).logits.float()
        if steady(model, exact, ids, logits):
            return ids, logits
    raise AssertionError(f"{folder.name}: no steady prompts")


def steady(model, exact, ids, logits):
    good = True
    for trial in range(3):
        generator = torch.Generator().manual_seed(trial)
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                value.copy_(exact[key] * (1 + 1e-5 * torch.randn(value.shape, generator=generator)))
        moved = model(input_ids=ids).logits
        good &= bool((moved - logits).abs().max() < 1e-3 and (moved.argmax(-1) == logits.argmax(-1)).all())
    for key, value in model.state_dict().items():
        value.copy_(exact[key])
    return good
