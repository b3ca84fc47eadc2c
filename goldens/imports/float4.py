"""4-bit floats: ModelOpt's NVFP4 by its own tensor class, gpt-oss MXFP4 by transformers, MMFP4 by the
predecessor's loader."""

import numpy as np
import torch
from owners import functions
from transformers.integrations.mxfp4 import convert_moe_packed_tensors


def modelopt(sources):
    """Packed as ModelOpt packs; its `dequantize` takes codes, block scales and the tensor's scale."""
    file = (
        sources
        / "nvidia_modelopt-0.47.0"
        / "modelopt"
        / "torch"
        / "quantization"
        / "qtensor"
        / "nvfp4_tensor.py"
    )
    values = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6])
    reduce = {"reduce_block_amax": None, "NVFP4QTensor": None}
    owner = functions(file, ["dequantize"], inside="NVFP4QTensor", **reduce)
    rng = np.random.default_rng(20261125)
    rows, cols = 5, 48
    packed = torch.tensor(rng.integers(0, 256, (rows, cols // 2)), dtype=torch.uint8)
    scale = torch.tensor(rng.uniform(1, 448, (rows, cols // 16))).to(torch.float8_e4m3fn)
    factor = torch.tensor(0.000123)

    class Tensor:
        _quantized_data, metadata = packed, {"dtype": torch.float32, "shape": torch.Size((rows, cols))}

        @staticmethod
        def get_e2m1_values(_):
            return values

    dense = owner.dequantize(Tensor(), torch.float32, scale=scale, double_scale=factor, block_sizes={-1: 16})
    tensors = {"w.weight": packed, "w.weight_scale": scale, "w.weight_scale_2": factor}
    tensors["w.input_scale"] = torch.tensor(1.0)
    return tensors, {"w": dense}


def gpt_oss():
    rng = np.random.default_rng(20261126)
    blocks = torch.tensor(rng.integers(0, 256, (3, 6, 2, 16)), dtype=torch.uint8)
    scales = torch.tensor(rng.integers(100, 140, (3, 6, 2)), dtype=torch.uint8)
    dense = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32).transpose(1, 2)
    name = "experts.gate_up_proj"
    return {f"{name}_blocks": blocks, f"{name}_scales": scales}, {name: dense.reshape(18, 64)}


def mmfp4(sources):
    file = sources / "metal-marlin" / "metal_marlin" / "layers" / "mmfp4_linear.py"
    table = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6])
    logger = type("", (), {"info": lambda *_: None, "debug": lambda *_: None})()
    owner = functions(
        file,
        ["_dequantize_rowwise_mmfp4", "_unpack_rowwise_nibbles"],
        _E2M1_TABLE=table,
        _SHIFT_4BIT=torch.arange(0, 32, 4, dtype=torch.int64),
        logger=logger,
    )
    tensors, values = {}, {}
    rng = np.random.default_rng(20261127)
    for name, suffix, by_rows in [("rows", "qweight", True), ("groups", "weight", False)]:
        words = torch.tensor(rng.integers(0, 2**32, (5, 32)))
        # Few significant bits: the owner rounds its values to f16.
        scales = torch.tensor(rng.integers(1, 256, (2, 5)) / 4096).half()
        values[name] = owner._dequantize_rowwise_mmfp4(words, scales, 128)
        tensors[f"{name}.{suffix}"] = words.to(torch.uint32)
        tensors[f"{name}.scales"] = scales.T if by_rows else scales
    return tensors, values


def make(sources):
    yield (
        "modelopt-nvfp4",
        {"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}},
        *modelopt(sources),
    )
    yield "gpt-oss", {"quantization_config": {"quant_method": "mxfp4"}}, *gpt_oss()
    yield "mmfp4", {}, *mmfp4(sources)
