"""Writes the folders beside it: weights as other programs store them, and the values their own code gives.

    pip install -r requirements.txt
    python make.py --sources DIR            all of them
    python make.py --sources DIR awq ...    only these scripts

DIR holds the unpacked source distributions that README.md names. A folder has `config.json`,
`model.safetensors`, and `expected.safetensors` with the f32 values of every weight under its name.
"""

import argparse
import importlib
import json
import pathlib

import torch
from safetensors.torch import save_file

SCRIPTS = ["gptq", "awq", "compressed", "mlx_groups", "float4", "bnb", "fp8"]
HERE = pathlib.Path(__file__).parent


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sources", type=pathlib.Path, required=True)
    parser.add_argument("scripts", nargs="*", default=SCRIPTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for script in arguments.scripts:
        for name, config, tensors, values in importlib.import_module(script).make(arguments.sources):
            write(HERE / name, config, tensors, values)
            print(f"{name}: {len(values)} weights", flush=True)


def write(folder, config, tensors, values):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    values = {name: value.to(torch.float32).contiguous() for name, value in values.items()}
    save_file(values, folder / "expected.safetensors")


if __name__ == "__main__":
    main()
