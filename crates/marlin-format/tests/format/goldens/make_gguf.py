"""Writes gguf.txt: random GGUF blocks and what gguf-py's dequantizers make of them.

Made with gguf 0.19.0 and numpy 2.4.6:  python make_gguf.py > gguf.txt
Each line: format, block bytes in hex, values as little-endian f32 in hex.
"""

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize

FLOATS = {  # offsets of the f16 fields of a block
    "q4_0": (T.Q4_0, [0]),
    "q4_1": (T.Q4_1, [0, 2]),
    "q5_0": (T.Q5_0, [0]),
    "q5_1": (T.Q5_1, [0, 2]),
    "q8_0": (T.Q8_0, [0]),
    "q2_k": (T.Q2_K, [80, 82]),
    "q3_k": (T.Q3_K, [108]),
    "q4_k": (T.Q4_K, [0, 2]),
    "q5_k": (T.Q5_K, [0, 2]),
    "q6_k": (T.Q6_K, [208]),
    "mxfp4-gguf": (T.MXFP4, []),
    "iq4_nl": (T.IQ4_NL, [0]),
    "iq4_xs": (T.IQ4_XS, [0]),
}
rng = np.random.default_rng(20260201)
for name, (kind, offsets) in FLOATS.items():
    values, size = GGML_QUANT_SIZES[kind]
    for _ in range(2 if values == 256 else 4):
        block = rng.integers(0, 256, size, dtype=np.uint8)
        for at in offsets:
            block[at : at + 2] = np.frombuffer(np.float16(rng.normal() * 0.1).tobytes(), np.uint8)
        if name == "mxfp4-gguf":
            block[0] = rng.integers(0, 252)
        decoded = dequantize(block[None, :], kind).astype("<f4")
        assert decoded.size == values and np.isfinite(decoded).all()
        print(name, block.tobytes().hex(), decoded.tobytes().hex())
