"""AWQ, version gemm: packed by AutoAWQ's linear and dequantized by its packing utilities, scales in f32."""

import numpy as np
import torch
from owners import functions

# name, rows, columns, group
# AutoAWQ packs rows in 32s.
CASES = [("square", 32, 96, 32), ("row", 32, 72, 72), ("odd-groups", 32, 96, 48)]


def make(sources):
    base = sources / "autoawq-0.2.9" / "awq"
    names = ["unpack_awq", "reverse_awq_order", "dequantize_gemm"]
    order = {"AWQ_REVERSE_ORDER": [0, 4, 1, 5, 2, 6, 3, 7]}
    utils = functions(base / "utils" / "packing_utils.py", names, **order)
    linear = functions(
        base / "modules" / "linear" / "gemm.py",
        ["from_linear"],
        inside="WQLinear_GEMM",
        get_best_device=lambda: "cpu",
    )
    tensors, values = {}, {}
    for name, rows, cols, group in CASES:
        rng = np.random.default_rng([20261125, *name.encode()])
        dense = torch.nn.Linear(cols, rows, bias=False)
        dense.weight.data = torch.tensor(rng.standard_normal((rows, cols)) * 0.05, dtype=torch.float32)
        scales = torch.tensor(rng.uniform(0.01, 0.03, (cols // group, rows))).half().float()
        zeros = torch.tensor(rng.integers(0, 16, (cols // group, rows)))
        # Every code within its 4 bits.
        span = scales.repeat_interleave(group, 0), zeros.repeat_interleave(group, 0)
        dense.weight.data = (
            torch.clamp(dense.weight.data.T / span[0] + span[1], 0, 15).sub(span[1]).mul(span[0]).T
        )
        packed = linear.from_linear(Packed, dense, 4, group, scales=scales, zeros=zeros)
        for part in ("qweight", "qzeros", "scales"):
            tensors[f"{name}.{part}"] = getattr(packed, part)
        values[name] = utils.dequantize_gemm(packed.qweight, packed.qzeros, packed.scales.float(), 4, group).T
    config = {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm", "zero_point": True}
    yield "awq", {"quantization_config": config}, tensors, values


class Packed:
    """What `from_linear` fills in."""

    def __init__(self, w_bit, group_size, in_features, out_features, bias, dev):
        self.w_bit, self.group_size = w_bit, group_size
        self.in_features, self.out_features, self.bias = in_features, out_features, None
