"""Whole models as other programs quantize them: `../llama-gptq` with activation order, `../glm4-moe-lite-mlx`
with stacks. The weights are those of `../llama` and `../glm4-moe-lite`; the logits are what transformers (in
f32, eager attention) computes from the values that the owners' code makes of the quantized weights.

    python models.py --sources DIR
"""

import argparse
import json
import pathlib
import tempfile

import gptq
import mlx.core as mx
import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

GOLDENS = pathlib.Path(__file__).parent.parent


def read(name):
    """Configuration and tensors of a golden, and its prompts."""
    folder = GOLDENS / name
    tensors = {}
    for shard in sorted(folder.glob("model*.safetensors")):
        tensors.update(load_file(shard))
    config = json.loads((folder / "config.json").read_text())
    return config, tensors, load_file(folder / "golden.safetensors")["input_ids"]


def write(name, config, tensors, dense, prompts):
    """The quantized model, and the logits of its values."""
    plain = {key: value for key, value in config.items() if not key.startswith("quantization")}
    with tempfile.TemporaryDirectory() as values:
        (pathlib.Path(values) / "config.json").write_text(json.dumps({**plain, "torch_dtype": "float32"}))
        save_file(
            {key: value.float().contiguous() for key, value in dense.items()}, f"{values}/model.safetensors"
        )
        model = transformers.AutoModelForCausalLM.from_pretrained(
            values, dtype=torch.float32, attn_implementation="eager"
        )
    with torch.no_grad():
        logits = model.eval()(prompts).logits
    folder = GOLDENS / name
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / "model.safetensors")
    save_file({"input_ids": prompts, "logits": logits.contiguous()}, folder / "golden.safetensors")
    print(f"{name}: {len(tensors)} tensors, largest logit {logits.abs().max():.3f}")


def llama_gptq(sources):
    """Every linear in 4 bits, groups of 32, activation order; q and k share theirs, of one Hessian."""
    linear, revert = gptq.kernel(sources)
    config, weights, prompts = read("llama")
    tensors, dense = {}, {}
    for name, weight in weights.items():
        module = name.removesuffix(".weight")
        if weight.dim() < 2 or "embed_tokens" in name:
            tensors[name] = dense[name] = weight
            continue
        rows, cols = weight.shape
        shared = "k_proj" if module.endswith("q_proj") else module.rsplit(".")[-1]
        parts, value = gptq.case(linear, revert, 1, (shared, 4, rows, cols, 32, False, True), weight)
        tensors.update({f"{module}.{part}": tensor for part, tensor in parts.items()})
        dense[name] = value
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": True}
    write("llama-gptq", config, tensors, dense, prompts)


def glm_mlx():
    """Experts and heads stacked, the value half of kv_b_proj in 4 bits, as mlx-lm converts and quantizes."""
    config, weights, prompts = read("glm4-moe-lite")
    layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
    nope, experts = config["qk_nope_head_dim"], config["n_routed_experts"]
    tensors, dense = dict(weights), dict(weights)
    quantization = {"group_size": 32, "bits": 4}
    for layer in (f"model.layers.{index}" for index in range(layers)):
        both = tensors.pop(f"{layer}.self_attn.kv_b_proj.weight").reshape(heads, -1, config["kv_lora_rank"])
        tensors[f"{layer}.self_attn.embed_q.weight"] = both[:, :nope].transpose(1, 2)
        module = f"{layer}.self_attn.unembed_out"
        codes, *pair = mx.quantize(mx.array(both[:, nope:].float().numpy()), group_size=32, bits=4)
        pair = [torch.tensor(np.array(part)).to(torch.bfloat16) for part in pair]
        exact = [mx.array(part.float().numpy()) for part in pair]
        value = torch.tensor(np.array(mx.dequantize(codes, *exact, group_size=32, bits=4)))
        tensors[f"{module}.weight"] = torch.tensor(np.array(codes))
        tensors[f"{module}.scales"], tensors[f"{module}.biases"] = pair
        whole = torch.cat([both[:, :nope].float(), value], 1)
        dense[f"{layer}.self_attn.kv_b_proj.weight"] = whole.reshape(-1, both.shape[-1])
        for part in ("gate_proj", "up_proj", "down_proj"):
            names = [f"{layer}.mlp.experts.{index}.{part}.weight" for index in range(experts)]
            if names[0] in tensors:
                stack = torch.stack([tensors.pop(name) for name in names])
                tensors[f"{layer}.mlp.switch_mlp.{part}.weight"] = stack
    config["quantization"] = quantization
    write("glm4-moe-lite-mlx", config, tensors, dense, prompts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--sources", type=pathlib.Path, required=True)
    torch.set_num_threads(1)
    llama_gptq(parser.parse_args().sources)
    glm_mlx()
