"""8-bit floats: blocks of 128 x 128 dequantized by transformers, rows and tensors by compressed-tensors."""

import numpy as np
import torch
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import dequantize
from transformers.integrations.finegrained_fp8 import Fp8Dequantize

# name, rows, columns, shape of the scales, their type
BLOCKS = [
    ("columns", 3, 256, (1, 2), torch.float32),
    ("rows", 256, 5, (2, 1), torch.float32),
    ("powers", 3, 256, (1, 2), torch.float8_e8m0fnu),
]
# name, strategy, shape of the scales, their type
OTHERS = [("row", "channel", (5, 1), torch.bfloat16), ("tensor", "tensor", (1,), torch.float32)]


def codes(rng, rows, cols):
    """Random codes, none of them NaN."""
    raw = rng.integers(0, 127, (rows, cols)) + 128 * rng.integers(0, 2, (rows, cols))
    return torch.tensor(raw, dtype=torch.uint8).view(torch.float8_e4m3fn)


def make(_):
    tensors, values = {}, {}
    rng = np.random.default_rng(20261125)
    for name, rows, cols, shape, dtype in BLOCKS:
        weight = codes(rng, rows, cols)
        scale = torch.tensor(rng.uniform(1e-4, 1e-2, shape), dtype=torch.float32).to(dtype)
        tensors[f"{name}.weight"], tensors[f"{name}.weight_scale_inv"] = weight, scale
        values[name] = Fp8Dequantize(None)._dequantize_one(weight, scale, torch.float32)
    config = {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}
    yield "fp8-blocks", {"quantization_config": config}, tensors, values

    tensors, values = {}, {}
    for name, strategy, shape, dtype in OTHERS:
        weight = codes(rng, 5, 37)
        scale = torch.tensor(rng.uniform(1e-4, 1e-2, shape), dtype=torch.float32).to(dtype)
        tensors[f"{name}.weight"], tensors[f"{name}.weight_scale"] = weight, scale
        args = QuantizationArgs(num_bits=8, type="float", strategy=strategy)
        values[name] = dequantize(weight, scale.float(), args=args, dtype=torch.float32)
    config = {"quant_method": "compressed-tensors", "format": "float-quantized"}
    yield "float-quantized", {"quantization_config": config}, tensors, values
