"""Writes every golden of this folder: what transformers (f32, eager attention, CPU) and gguf-py compute.

    python make.py            all of them
    python make.py llama ...  only those named

Each golden is a folder: a checkpoint as other programs publish it, `golden.safetensors` with the expected
outputs, and for some architectures `model.gguf`, the same weights as a GGUF file. Running it twice gives the
same bytes.
"""

import pathlib
import sys

import blocks
import checkpoints
import miniature
import torch
import twins

HERE = pathlib.Path(__file__).parent


def main(names):
    torch.set_num_threads(1)  # one thread, one order of summation
    torch.use_deterministic_algorithms(True)
    makers = {name: lambda name=name: make_checkpoint(name) for name in checkpoints.CHECKPOINTS}
    makers["gguf-blocks"] = lambda: blocks.make(HERE / "gguf-blocks")
    makers["marlin-mini"] = lambda: miniature.make(
        HERE / "marlin-mini", HERE.parent / "assets" / "marlin-mini"
    )
    unknown = set(names) - set(makers)
    if unknown:
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(makers)}")
    for name in names or makers:
        print(f"{name}: {makers[name]()}", flush=True)


def make_checkpoint(name):
    said = checkpoints.make(name, HERE / name)
    if name in twins.TWINS:
        said += "; " + twins.make(name, HERE / name)
    return said


if __name__ == "__main__":
    main(sys.argv[1:])
