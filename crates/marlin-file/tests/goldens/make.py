"""Writes compressed_tensors.safetensors: one weight in each scheme, packed by the compressed-tensors
package, and under `NAME.expected` its values in f32.

    pip install compressed-tensors==0.20.0 safetensors==0.8.0 torch numpy
    python make.py
"""

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.nvfp4 import unpack_fp4_from_uint8
from compressed_tensors.compressors.pack_quantized import unpack_from_int32
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from safetensors.torch import save_file

torch.manual_seed(7)

# name, format, rows, columns, weight arguments, dtype of the scales
CASES = [
    (
        "fp4",
        "nvfp4-pack-quantized",
        3,
        64,
        dict(num_bits=4, type="float", strategy="tensor_group", group_size=16),
        torch.float32,
    ),
    (
        "mxfp4",
        "mxfp4-pack-quantized",
        3,
        64,
        dict(num_bits=4, type="float", strategy="group", group_size=32),
        torch.float32,
    ),
    (
        "int4",
        "pack-quantized",
        11,
        256,
        dict(num_bits=4, type="int", strategy="group", group_size=128, symmetric=False),
        torch.float16,
    ),
    (
        "int4-sym",
        "pack-quantized",
        3,
        128,
        dict(num_bits=4, type="int", strategy="group", group_size=128),
        torch.bfloat16,
    ),
    (
        "int8",
        "pack-quantized",
        3,
        256,
        dict(num_bits=8, type="int", strategy="group", group_size=128),
        torch.float16,
    ),
    ("int8-row", "pack-quantized", 3, 256, dict(num_bits=8, type="int", strategy="channel"), torch.float16),
]


def case(name, kind, rows, cols, arguments, scale_dtype):
    scheme = QuantizationScheme(targets=[name], weights=QuantizationArgs(**arguments), format=kind)
    group = arguments.get("group_size", cols)
    weight = torch.randn(rows, cols) * 0.02
    groups = weight.reshape(rows, -1, group)
    absmax = groups.abs().amax(-1)
    state = {"weight": weight}
    zero = None
    if kind == "nvfp4-pack-quantized":
        state["weight_global_scale"] = 448 * 6 / weight.abs().amax().reshape(1)
        scale = (absmax / 6 * state["weight_global_scale"]).to(torch.float8_e4m3fn).to(torch.float32)
    elif kind == "mxfp4-pack-quantized":
        scale = 2.0 ** (torch.floor(torch.log2(absmax)) - 2)
    elif arguments.get("symmetric", True):
        scale = (absmax / (2 ** (arguments["num_bits"] - 1) - 0.5)).to(scale_dtype)
    else:
        low, high = groups.amin(-1), groups.amax(-1)
        scale = ((high - low) / 15).to(scale_dtype)
        zero = torch.clamp(torch.round(-8 - low / scale), -8, 7).to(torch.int8)
        state["weight_zero_point"] = zero
    state["weight_scale"] = scale
    packed = BaseCompressor.get_value_from_registry(kind).compress(state, scheme)

    if "fp4" in kind:
        codes = unpack_fp4_from_uint8(packed["weight_packed"], rows, cols, dtype=torch.float32)
    else:
        codes = unpack_from_int32(packed["weight_packed"], arguments["num_bits"], (rows, cols))
    codes = codes.to(torch.float32).reshape(rows, -1, group)
    if zero is not None:
        codes = codes - zero.to(torch.float32).unsqueeze(-1)
    scale = scale.to(torch.float32) / packed.get("weight_global_scale", torch.ones(1))
    packed["expected"] = (scale.unsqueeze(-1) * codes).reshape(rows, cols)
    return {f"{name}.{key}": value.contiguous() for key, value in packed.items()}


tensors = {}
for arguments in CASES:
    tensors.update(case(*arguments))
save_file(tensors, "compressed_tensors.safetensors")
