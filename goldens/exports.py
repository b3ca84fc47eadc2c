"""What other programs make of `metal-marlin convert`: transformers with compressed-tensors, and llama.cpp.

    cargo build --release -p metal-marlin && cargo build --release -p metal-marlin --example logits
    python exports.py --bin ../target/release                 all models and formats
    python exports.py --bin ../target/release --only llama fp4
    python exports.py --bin ../target/release --model DIR     another model, in all formats

Two models are quantized and converted both ways: marlin-mini (assets/marlin-mini, trained, experts and latent
attention), and a llama of random weights whose widths are whole blocks of every format. For a text it prints
the largest differences of logits, whose standard deviation is about 3:

    ct, gguf     our own logits of the converted model from those of its source: 0 if every value was kept
    transformers of the compressed-tensors directory, in f32, from ours
    llama.cpp    of the GGUF from ours: its own arithmetic's error, as it rounds activations to 8 bits
    llama.cpp, exact   the same from F32 values that gguf-py decodes out of the GGUF
    each other   transformers from the last

and fails if a token of llama.cpp's tokenizer differs. Not part of CI: llama-cpp-python is built from source.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

import gguf
import llama_cpp
import numpy
import torch
import transformers
from llama_cpp import Llama
from miniature import TEXTS

HERE = pathlib.Path(__file__).parent
MINI = HERE.parent / "assets" / "marlin-mini"
FORMATS = ["bf16", "fp4", "mxfp4", "int4", "int4-sym", "int8", "fp8-e4m3"]
TOKENS = 64


def llama(folder):
    """A llama with marlin-mini's tokenizer: weights that give logits about as large."""
    torch.manual_seed(20)
    config = transformers.LlamaConfig(
        vocab_size=3584, hidden_size=256, intermediate_size=512, num_hidden_layers=4, num_attention_heads=8,
        num_key_value_heads=2, max_position_embeddings=2048, initializer_range=0.08, rms_norm_eps=1e-5,
        tie_word_embeddings=False, bos_token_id=None, eos_token_id=3563,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).bfloat16().save_pretrained(folder)
    for name in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]:
        shutil.copy(MINI / name, folder / name)
    return folder


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    return None if done.returncode == 0 else done.stderr.strip().splitlines()[0]


def ours(binaries, model, ids, scratch):
    numpy.array(ids, "<u4").tofile(scratch / "ids")
    failed = run(binaries / "examples" / "logits", model, scratch / "ids", scratch / "logits")
    return failed or numpy.fromfile(scratch / "logits", "<f4").reshape(len(ids), -1)


@torch.no_grad()
def in_transformers(folder, ids):
    """Loads the compressed weights as they are, else decompressed one by one, and computes in f32. Also how,
    or what went wrong."""
    plain, said = "quantization_config" not in (folder / "config.json").read_text(), []
    dequantize = {"quantization_config": transformers.CompressedTensorsConfig(dequantize=True)}
    for how in ["", "dequantize"][: 1 if plain else 2]:
        options = dequantize if how else {}
        try:
            model, report = transformers.AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True, **options
            )
            for kind in ["missing_keys", "unexpected_keys", "mismatched_keys"]:
                assert not report[kind], f"{kind} {sorted(report[kind])[0]}"
            if not how and not plain:
                # Their 4-bit floats decompress to bf16, exactly, and then do not multiply f32.
                model.hf_quantizer.compressor.decompress_model(model)
            # Module.float, as the model refuses to be cast once it was quantized.
            model = torch.nn.Module.float(model).eval()
            return model(torch.tensor([ids])).logits[0].numpy(), how
        except Exception as error:
            said.append(f"{type(error).__name__}: {error}".splitlines()[0][:100])
    return "fails", "; ".join(said)


def plain_buffers():
    """llama.cpp's parameters without repacked weights: its AMX path (0.3.36) crashes on 2-D products."""
    params = DEFAULT_PARAMS()
    params.use_extra_bufts = False
    return params


DEFAULT_PARAMS = llama_cpp.llama_cpp.llama_model_default_params
llama_cpp.llama_cpp.llama_model_default_params = plain_buffers


def in_llama_cpp(file, ids):
    model = Llama(
        str(file), n_ctx=512, n_batch=512, logits_all=True, verbose=False, n_threads=2,
        type_k=gguf.GGMLQuantizationType.F32, type_v=gguf.GGMLQuantizationType.F32, flash_attn=False,
    )  # fmt: skip
    model.eval(ids)
    return model, numpy.array(model.scores[: len(ids)])


def as_f32(file, copy):
    """The same GGUF with every tensor decoded by gguf-py; a factor beside a tensor is multiplied in."""
    reader = gguf.GGUFReader(file)
    writer = gguf.GGUFWriter(copy, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        item = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], item)
    scales = {t.name.removesuffix(".scale"): t.data for t in reader.tensors if t.name.endswith(".scale")}
    for tensor in reader.tensors:
        if tensor.name.endswith(".scale"):
            continue
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        values = values.reshape(list(reversed(tensor.shape.tolist()))).astype(numpy.float32)
        scale = scales.get(tensor.name.removesuffix(".weight"))
        if scale is not None:
            values = values * scale.reshape([-1] + [1] * (values.ndim - 1) if len(scale) > 1 else [1])
        writer.add_tensor(tensor.name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {tensor.tensor_type.name for tensor in reader.tensors} - {"F32"}


def difference(a, b):
    """The largest one, or what went wrong instead."""
    for side in (a, b):
        if not isinstance(side, numpy.ndarray):
            return side or "-"
    worst = numpy.abs(a - b).max()
    return "0" if worst == 0 else f"{worst:.1e}"


def check_tokens(model, tokenizer):
    for text in TEXTS:
        theirs = model.tokenize(text.encode(), add_bos=False, special=True)
        if theirs != tokenizer(text, add_special_tokens=False)["input_ids"]:
            sys.exit(f"llama.cpp splits {text!r} into {theirs}")


def compare(binaries, name, source, kind, scratch):
    """One row of the table."""
    command = binaries / "metal-marlin"
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    ids = tokenizer((MINI / "heldout.txt").read_text(), add_special_tokens=False)["input_ids"][:TOKENS]
    model, directory, file = scratch / "model", scratch / "ct", scratch / "model.gguf"
    if kind == "bf16":
        model = source
    else:
        failed = run(command, "quantize", source, "--format", kind, "--out", model)
        assert failed is None, failed
    expected = ours(binaries, model, ids, scratch)
    row = [name, kind]
    refused = []
    for to, out in [("compressed-tensors", directory), ("gguf", file)]:
        convert = [command, "convert", model, "--to", to, "--out", out]
        if run(*convert):
            refused.append(to)
            failed = run(*convert, "--dequantize")
            assert failed is None, failed
    types = as_f32(file, scratch / "f32.gguf")
    theirs, how = in_transformers(directory, ids)
    loaded, rough = in_llama_cpp(file, ids)
    check_tokens(loaded, tokenizer)
    _, exact = in_llama_cpp(scratch / "f32.gguf", ids)
    row += [difference(ours(binaries, directory, ids, scratch), expected)]
    row += [difference(theirs, expected) + (f" ({how})" if how else "")]
    row += [difference(ours(binaries, file, ids, scratch), expected), difference(rough, expected)]
    row += [difference(exact, expected), difference(theirs, exact)]
    return row + [", ".join(sorted(types)) + "".join(f"; {to} needs --dequantize" for to in refused)]


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--bin", type=pathlib.Path, required=True)
    options.add_argument("--only", nargs=2, metavar=("MODEL", "FORMAT"))
    options.add_argument("--model", type=pathlib.Path, help="a directory of your own, with a tokenizer")
    options = options.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    columns = ["model", "format", "ct", "transformers", "gguf"]
    columns += ["llama.cpp", "llama.cpp, exact", "each other", "types"]
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for name in [options.model.name] if options.model else ["llama", "marlin-mini"]:
        for kind in FORMATS:
            if options.only and options.only != [name, kind]:
                continue
            with tempfile.TemporaryDirectory() as scratch:
                scratch = pathlib.Path(scratch)
                source = options.model or (MINI if name == "marlin-mini" else llama(scratch / "llama"))
                row = compare(options.bin.resolve(), name, source, kind, scratch)
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
