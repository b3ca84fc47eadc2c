"""compressed-tensors: packed by its compressors of today and by the packing of 0.12.2, dequantized by its own
`decompress` and `dequantize`, scales in f32."""

import numpy as np
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.lifecycle.forward import dequantize, quantize
from owners import functions

# name, format, rows, columns, arguments. Strategies are group (with a size), channel and tensor.
PACKED, BYTES = "pack-quantized", "int-quantized"
CASES = [
    ("four", PACKED, 5, 64, dict(num_bits=4, group_size=32)),
    ("four-zeros", PACKED, 11, 96, dict(num_bits=4, group_size=32, symmetric=False)),
    ("four-order", PACKED, 5, 96, dict(num_bits=4, group_size=32, symmetric=False, order=True)),
    ("four-row", PACKED, 7, 33, dict(num_bits=4)),
    ("eight", PACKED, 3, 64, dict(num_bits=8, group_size=32)),
    ("eight-zeros", PACKED, 5, 64, dict(num_bits=8, group_size=32, symmetric=False)),
    ("three", PACKED, 7, 96, dict(num_bits=3, group_size=32)),
    ("three-zeros", PACKED, 7, 96, dict(num_bits=3, group_size=32, symmetric=False)),
    ("two", PACKED, 5, 64, dict(num_bits=2, group_size=32, symmetric=False)),
    ("six", PACKED, 5, 64, dict(num_bits=6, group_size=32)),
    ("bytes", BYTES, 5, 33, dict(num_bits=8)),
    ("bytes-zeros", BYTES, 5, 33, dict(num_bits=8, symmetric=False)),
    ("bytes-tensor", BYTES, 3, 40, dict(num_bits=8, strategy="tensor")),
    (
        "nvfp4",
        "nvfp4-pack-quantized",
        3,
        64,
        dict(num_bits=4, type="float", strategy="tensor_group", group_size=16),
    ),
    ("mxfp4", "mxfp4-pack-quantized", 3, 64, dict(num_bits=4, type="float", group_size=32)),
]
# Packed with ten codes of 3 bits a word.
PADDED = ["four-zeros", "three", "three-zeros", "six"]


def quantized(name, kind, rows, cols, arguments):
    """The scheme, and a module's tensors before they are compressed."""
    rng = np.random.default_rng([20261125, *name.encode()])
    scattered = arguments.pop("order", False)
    defaults = {"strategy": "group" if "group_size" in arguments else "channel", "type": "int"}
    scheme = QuantizationScheme(
        targets=[name], weights=QuantizationArgs(**{**defaults, **arguments}), format=kind
    )
    weight = torch.tensor(rng.standard_normal((rows, cols)) * 0.05, dtype=torch.float32)
    group = cols if scheme.weights.group_size in (None, -1) else scheme.weights.group_size
    state = {"weight": weight}
    index = torch.arange(cols) // group
    if scattered:
        index = index[torch.tensor(rng.permutation(cols))]
        state["weight_g_idx"] = index.to(torch.int32)
    order = torch.argsort(index, stable=True)
    values = weight[:, order].reshape(rows, -1, group)
    if kind == "nvfp4-pack-quantized":
        # A power of two: dividing by it and multiplying by its reciprocal are the same.
        state["weight_global_scale"] = torch.tensor([4096.0])
        scale = (values.abs().amax(-1) / 6 * 4096).to(torch.float8_e4m3fn).to(torch.float32)
    elif kind == "mxfp4-pack-quantized":
        scale = 2.0 ** (torch.floor(torch.log2(values.abs().amax(-1))) - 2)
    else:
        half = 2 ** (scheme.weights.num_bits - 1)
        if arguments.get("strategy") == "tensor":
            values = values.reshape(1, 1, -1)
        low, high = values.amin(-1).clamp(max=0), values.amax(-1).clamp(min=0)
        symmetric = torch.maximum(-low, high) / (half - 0.5)
        scale = (symmetric if scheme.weights.symmetric else (high - low) / (2 * half - 1)).half().float()
        if not scheme.weights.symmetric:
            zero = torch.clamp(torch.round(-half - low / scale), -half, half - 1)
            state["weight_zero_point"] = zero.to(torch.int8)
        if arguments.get("strategy") == "tensor":
            scale = scale.reshape(1)
    state["weight_scale"] = scale
    return scheme, state


def values(scheme, state):
    """What the module's weight is once quantized."""
    more = {"zero_point": state.get("weight_zero_point"), "args": scheme.weights}
    more["global_scale"] = state.get("weight_global_scale")
    # Releases that know activation order sort the columns by group, and put them back.
    order = torch.argsort(state.get("weight_g_idx", torch.zeros(state["weight"].shape[1])), stable=True)
    kind = torch.int8 if scheme.weights.type == "int" else None
    codes = quantize(state["weight"][:, order], state["weight_scale"], dtype=kind, **more)
    back = torch.argsort(order)
    dense = dequantize(codes, state["weight_scale"], dtype=torch.float32, **more)
    return codes[:, back], dense[:, back]


def make(sources):
    old = functions(
        sources
        / "compressed_tensors-0.12.2"
        / "compressed_tensors"
        / "compressors"
        / "quantized_compressors"
        / "pack_quantized.py",
        ["pack_to_int32"],
        math=__import__("math"),
        np=np,
    )
    today, padded, expected, expected_padded = {}, {}, {}, {}
    for name, kind, rows, cols, arguments in CASES:
        scheme, state = quantized(name, kind, rows, cols, arguments)
        codes, expected[name] = values(scheme, state)
        if "weight_g_idx" in state:
            # Today's compressor knows no such order; old checkpoints have it.
            packed = {key: value for key, value in state.items() if key != "weight"}
            packed["weight_packed"] = pack_to_int32(codes, scheme.weights.num_bits)
            packed["weight_zero_point"] = pack_to_int32(
                state["weight_zero_point"], scheme.weights.num_bits, packed_dim=0
            )
            packed["weight_shape"] = torch.tensor([rows, cols])
        else:
            packed = BaseCompressor.get_value_from_registry(kind).compress(state, scheme)
        today.update({f"{name}.{part}": tensor for part, tensor in packed.items()})
        if name in PADDED:
            bits = scheme.weights.num_bits
            packed["weight_packed"] = old.pack_to_int32(codes, bits)
            if "weight_zero_point" in packed:
                packed["weight_zero_point"] = old.pack_to_int32(
                    state["weight_zero_point"], bits, packed_dim=0
                )
            padded.update({f"{name}.{part}": tensor for part, tensor in packed.items()})
            expected_padded[name] = expected[name]
    yield (
        "compressed-tensors",
        {"quantization_config": {"quant_method": "compressed-tensors"}},
        today,
        expected,
    )
    config = {"quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized"}}
    yield "compressed-tensors-padded", config, padded, expected_padded
