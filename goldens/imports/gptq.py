"""GPTQ: packed and dequantized by GPTQModel's torch kernel, scales read in f32 so that nothing is rounded."""

import math
import re

import numpy as np
import torch
from owners import functions

# name, bits, rows, columns, group, symmetric, activation order. Rows of 3 bits come in 32s.
CASES = [
    ("four", 4, 9, 80, 32, True, False),
    ("four-zeros", 4, 9, 80, 32, False, False),
    ("four-order", 4, 9, 80, 32, False, True),
    ("four-row", 4, 5, 40, -1, False, False),
    ("eight", 8, 5, 72, 32, True, False),
    ("eight-zeros", 8, 5, 72, 32, False, False),
    ("eight-order", 8, 3, 144, 128, True, True),
    ("three", 3, 32, 64, 32, False, False),
    ("three-order", 3, 32, 96, 64, False, True),
    ("two", 2, 9, 80, 32, False, False),
]
METHODS = ["pack_original", "dequantize_weight", "_dequantize_from_codes", "_init_wf_unsqueeze_buffers"]


class NoLimits:
    """Stands in for GPTQModel's limit on threads."""

    def threadpool_limits(self, _):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def kernel(sources):
    """GPTQModel's torch linear, its methods taken from the file alone."""
    base = sources / "gptqmodel-7.7.0" / "gptqmodel"
    file = base / "nn_modules" / "qlinear" / "__init__.py"
    transformers = type("", (), {"pytorch_utils": type("", (), {"Conv1D": type(None)})})
    shifts = functions(file, ["_torch_right_shift", "_torch_left_shift"])
    methods = functions(
        file,
        METHODS,
        inside="PackableQuantLinear",
        np=np,
        math=math,
        nn=torch.nn,
        transformers=transformers,
        _ConvNd=type(None),
        THREADPOOLCTL=NoLimits(),
        **vars(shifts),
    )
    file = base / "utils" / "model_dequant.py"
    zeros = functions(
        file, re.findall(r"^def (\w*(?:pack|3bit|qzeros)\w*)\(", file.read_text(), re.M), PLANAR_BITS=()
    )
    linear = type("Linear", (torch.nn.Module,), {name: getattr(methods, name) for name in METHODS})
    linear._wf_device = lambda self: torch.device("cpu")
    return linear, zeros._revert_gptq_v1_qzeros_correction


def case(linear, revert, version, arguments, weight=None):
    """The tensors of one module, and its values; of `weight`, or of random numbers."""
    name, bits, rows, cols, group, symmetric, order = arguments
    rng = np.random.default_rng([20261125, *name.encode()])
    group = cols if group == -1 else group
    groups = -(-cols // group)
    index = np.arange(cols) // group
    if order:
        rng.shuffle(index)
    if weight is None:
        weight = torch.tensor(rng.standard_normal((rows, cols)) * 0.05, dtype=torch.float32)
    scales = torch.tensor(rng.uniform(0.002, 0.02, (rows, groups)) * 16 / 2**bits).half().float()
    most = 2**bits - 1
    middle = 2 ** (bits - 1)
    # At least 1: version 1 stores one less.
    zeros = rng.integers(1, most + 1, (rows, groups)) if not symmetric else np.full((rows, groups), middle)

    module = linear()
    module.bits, module.maxq, module.planar, module.in_features = bits, most, False, cols
    module.pack_dtype_bits, module.pack_np_math_dtype, module.pack_np_dtype = 32, np.uint32, np.int32
    module.pack_factor, module.enable_wf_unsqueeze = 32 // bits, True
    module.dequant_dtype = torch.int16 if bits == 8 else torch.int8
    dense = torch.nn.Linear(cols, rows, bias=False)
    dense.weight.data = weight
    module.pack_original(dense, scales, torch.tensor(zeros), torch.tensor(index, dtype=torch.int32))
    qzeros = module.qzeros if version == 2 else revert(module.qzeros, bits)
    tensors = {"qweight": module.qweight, "qzeros": qzeros, "scales": module.scales}
    if name != "four-row":
        tensors["g_idx"] = module.g_idx

    module.scales = module.scales.float()
    return tensors, module.dequantize_weight().T


def make(sources):
    """Folder name to configuration, tensors and values."""
    linear, revert = kernel(sources)
    for version in (1, 2):
        tensors, values = {}, {}
        for arguments in CASES:
            parts, values[arguments[0]] = case(linear, revert, version, arguments)
            tensors.update({f"{arguments[0]}.{part}": tensor for part, tensor in parts.items()})
        config = {"quant_method": "gptq", "bits": 4, "group_size": 64, "desc_act": True, "sym": False}
        if version == 2:
            config["checkpoint_format"] = "gptq_v2"
        yield f"gptq-v{version}", {"quantization_config": config}, tensors, values
