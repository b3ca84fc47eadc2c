"""GGUF blocks: random rows of raw block bytes, and the f32 values gguf-py's dequantizer gives for them."""

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import save_file

ROWS, BLOCKS = 4, 3

# type -> byte offsets of the f16 fields in a block. They are drawn as finite numbers; all other bytes are
# free.
HALVES = {
    Type.Q4_0: [0],
    Type.Q4_1: [0, 2],
    Type.Q5_0: [0],
    Type.Q5_1: [0, 2],
    Type.Q8_0: [0],
    Type.Q2_K: [80, 82],
    Type.Q3_K: [108],
    Type.Q4_K: [0, 2],
    Type.Q5_K: [0, 2],
    Type.Q6_K: [208],
    Type.MXFP4: [],
    Type.IQ4_NL: [0],
    Type.IQ4_XS: [0],
    Type.NVFP4: [],
    Type.BF16: [],
    Type.F16: [],
}


def draw(kind, rng):
    """[ROWS, BLOCKS * block bytes] u8. BF16 and F16 rows hold BLOCKS * 32 + 1 values: no multiple of
    anything."""
    if kind in (Type.BF16, Type.F16):
        values = (rng.standard_t(3, (ROWS, BLOCKS * 32 + 1)) * 10.0 ** rng.integers(-7, 4, (ROWS, 1))).astype(
            np.float32
        )
        words = (
            (values.view(np.uint32) >> 16).astype(np.uint16)
            if kind == Type.BF16
            else values.astype(np.float16)
        )
        return words.view(np.uint8)
    size = gguf.GGML_QUANT_SIZES[kind][1]
    raw = rng.integers(0, 256, (ROWS, BLOCKS, size), dtype=np.uint8)
    if kind == Type.MXFP4:
        raw[:, :, 0] = rng.integers(100, 141, (ROWS, BLOCKS))  # E8M0: 2^-27 .. 2^13
        raw[0, 0, 0] = 0  # the smallest scale, a subnormal f32
    for number, offset in enumerate(HALVES[kind]):
        scale = (rng.standard_normal((ROWS, BLOCKS)) * 0.05).astype(np.float16)
        if number == 0:
            scale[0, 0], scale[1, 0] = 6e-6, 0  # a subnormal f16, and zero
        raw[:, :, offset : offset + 2] = scale[..., None].view(np.uint8)
    return raw.reshape(ROWS, BLOCKS * size)


def experts(folder):
    """A stack of NVFP4 matrices with a factor each, as llama.cpp reads it: w.weight and w.scale. The values
    are gguf-py's times the factor; factors of few bits keep the products exact."""
    count = 3
    rng = np.random.default_rng([20261126, int(Type.NVFP4)])
    raw = rng.integers(0, 256, (count, ROWS, BLOCKS, 36), dtype=np.uint8)
    raw[..., :4] %= 0x7F  # a scale has no sign, and is no NaN
    raw = raw.reshape(count, ROWS, BLOCKS * 36)
    factors = np.array([0.3, 1.0, 0.0042], np.float16).astype(np.float32)
    writer = gguf.GGUFWriter(folder / "nvfp4-experts.gguf", "test")
    writer.add_tensor("w.weight", raw, raw_dtype=Type.NVFP4)
    writer.add_tensor("w.scale", factors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    values = np.stack([gguf.quants.dequantize(matrix, Type.NVFP4) for matrix in raw])
    values = (values * factors[:, None, None]).astype(np.float32)
    save_file({"w": np.ascontiguousarray(values)}, folder / "nvfp4-experts.safetensors")


def make(folder):
    folder.mkdir(exist_ok=True)
    experts(folder)
    tensors = {}
    for kind in HALVES:
        raw = draw(kind, np.random.default_rng([20261123, int(kind)]))
        values = gguf.quants.dequantize(raw.view(np.float16) if kind == Type.F16 else raw, kind)
        assert np.isfinite(values).all(), kind
        name = kind.name.lower()
        tensors[f"{name}.bytes"], tensors[f"{name}.values"] = (
            np.ascontiguousarray(raw),
            np.ascontiguousarray(values, np.float32),
        )
    save_file(tensors, folder / "blocks.safetensors")
    return f"{len(HALVES)} types, {ROWS} rows of {BLOCKS} blocks"
