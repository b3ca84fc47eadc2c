"""MLX: quantized and dequantized by mlx's CPU backend, scales and biases read in f32."""

import mlx.core as mx
import numpy as np
import torch

# name, shape, mode, group, bits, dtype of scales and biases
CASES = [
    ("two", (3, 64), "affine", 32, 2, torch.float16),
    ("three", (3, 96), "affine", 32, 3, torch.float16),
    ("four", (5, 128), "affine", 64, 4, torch.bfloat16),
    ("five", (3, 64), "affine", 64, 5, torch.float16),
    ("six", (3, 128), "affine", 128, 6, torch.bfloat16),
    ("eight", (3, 64), "affine", 32, 8, torch.float16),
    ("mxfp4", (3, 64), "mxfp4", 32, 4, None),
    ("nvfp4", (3, 64), "nvfp4", 16, 4, None),
    ("mxfp8", (3, 64), "mxfp8", 32, 8, None),
    ("stack.switch_mlp", (3, 2, 64), "affine", 32, 4, torch.float16),
]


def make(_):
    tensors, values, quantization = {}, {}, {"group_size": 64, "bits": 4, "mode": "affine"}
    for name, shape, mode, group, bits, dtype in CASES:
        rng = np.random.default_rng([20261125, *name.encode()])
        weight = mx.array((rng.standard_normal(shape) * 0.05).astype(np.float32))
        codes, scales, *biases = mx.quantize(weight, group_size=group, bits=bits, mode=mode)
        tensors[f"{name}.weight"] = torch.tensor(np.array(codes))
        if dtype is None:
            tensors[f"{name}.scales"] = torch.tensor(np.array(scales))
            value = mx.dequantize(codes, scales, group_size=group, bits=bits, mode=mode, dtype=mx.float32)
        else:
            # Rounded as a model's own dtype rounds them, then read in f32.
            scales, bias = (torch.tensor(np.array(part)).to(dtype) for part in (scales, biases[0]))
            tensors[f"{name}.scales"], tensors[f"{name}.biases"] = scales, bias
            exact = [mx.array(part.float().numpy()) for part in (scales, bias)]
            value = mx.dequantize(codes, *exact, group_size=group, bits=bits, mode=mode)
        values[name] = torch.tensor(np.array(value)).reshape(-1, shape[-1])
        quantization[name] = {"group_size": group, "bits": bits, "mode": mode}
    yield "mlx", {"quantization": quantization}, tensors, values
