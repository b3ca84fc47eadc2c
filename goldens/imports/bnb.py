"""bitsandbytes: quantized and dequantized by its CPU backend, plain and nested, NF4 and FP4."""

import bitsandbytes.functional as functional
import numpy as np
import torch

# name, rows, columns, block, type, nested
CASES = [
    ("nf4", 5, 128, 64, "nf4", False),
    ("nf4-nested", 33, 64, 64, "nf4", True),
    ("nf4-across", 3, 96, 64, "nf4", False),
    ("nf4-wide", 3, 256, 128, "nf4", True),
    ("nf4-odd", 4, 35, 64, "nf4", False),
    ("fp4", 5, 64, 64, "fp4", True),
]


def make(_):
    tensors, values = {}, {}
    for name, rows, cols, block, kind, nested in CASES:
        rng = np.random.default_rng([20261125, *name.encode()])
        weight = torch.tensor(rng.standard_normal((rows, cols)) * 0.05, dtype=torch.float32)
        packed, state = functional.quantize_4bit(
            weight, blocksize=block, compress_statistics=nested, quant_type=kind
        )
        tensors[f"{name}.weight"] = packed
        tensors.update(
            {f"{name}.weight.{part}": tensor for part, tensor in state.as_dict(packed=True).items()}
        )
        values[name] = functional.dequantize_4bit(packed, state)
    yield "bitsandbytes", {"quantization_config": {"quant_method": "bitsandbytes"}}, tensors, values
