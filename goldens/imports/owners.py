"""Functions of other projects' source files, for packages whose import needs a GPU or a compiler."""

import ast
import types

import torch


def functions(path, names, inside=None, **known):
    """The functions `names` of the file `path`, or of its class `inside`, compiled alone. `known` are the
    globals they use besides torch; annotations are not evaluated."""
    tree = ast.parse(path.read_text())
    if inside:
        tree = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == inside)
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in names]
    missing = set(names) - {node.name for node in found}
    if missing:
        raise SystemExit(f"{path}: no {', '.join(sorted(missing))}")
    for node in found:
        node.decorator_list = []
    future = ast.ImportFrom("__future__", [ast.alias("annotations")], 0)
    module = ast.fix_missing_locations(ast.Module([future, *found], []))
    space = {"torch": torch, "t": torch, **known}
    exec(compile(module, str(path), "exec"), space)
    return types.SimpleNamespace(**{name: space[name] for name in names})
