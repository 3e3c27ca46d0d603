"""The shape of the code itself: who may import whom, and how large things may grow."""

from __future__ import annotations

import ast
import statistics
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1] / "src" / "madem"
FILES = sorted(ROOT.rglob("*.py"))
BASE = {"documents", "errors", "memory", "units", "randomness"}
MAY_IMPORT: dict[str, set[str]] = {
    "network": BASE,
    "device": BASE,
    "ledger": BASE,
    "fast": BASE | {"network"},
    "solver": BASE | {"network", "fast"},
    "circuit": BASE | {"network"},
    "machine": BASE | {"network", "device", "ledger", "fast", "solver", "circuit"},
    "learn": BASE | {"machine", "network", "solver"},
    "data": BASE | {"network"},
    "experiments": BASE
    | {"network", "device", "ledger", "solver", "circuit", "machine", "learn", "data"}
    | {"training", "experiments"},
    "inspect": BASE
    | {"network", "solver", "circuit", "machine", "learn", "training", "experiments"},
    "report": BASE | {"experiments", "inspect", "ledger"},
}


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for file in FILES:
        yield file, ast.parse(file.read_text())


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for file, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                yield f"{file.name}:{node.name}", node


def test_arrows_point_one_way() -> None:
    for file, tree in trees():
        room = file.relative_to(ROOT).parts[0]
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("madem."):
                target = (node.module or "").split(".")[1]
                if room in MAY_IMPORT and target != room:
                    assert target in MAY_IMPORT[room], f"{file} imports {node.module}"


def code_lines(node: ast.FunctionDef) -> int:
    """Lines of a function without its docstring."""
    has_doc = ast.get_docstring(node) is not None
    first = node.body[1] if has_doc and len(node.body) > 1 else node.body[0]
    return (node.end_lineno or 0) - first.lineno + 1


def test_functions_fit_in_the_head() -> None:
    sizes = {name: code_lines(node) for name, node in functions()}
    assert max(sizes.values()) <= 60, max(sizes, key=lambda name: sizes[name])
    assert statistics.quantiles(sizes.values(), n=20)[-1] <= 40


def test_files_read_top_to_bottom() -> None:
    for file in FILES:
        assert len(file.read_text().splitlines()) <= 500, file


def test_few_arguments() -> None:
    for name, node in functions():
        count = len(node.args.args) + len(node.args.kwonlyargs)
        if "typer." not in ast.unparse(node.args):  # a person gives those, not a call
            assert count <= 9, name  # self and eight
        assert node.args.kwarg is None, name


def test_only_machines_and_records_change_themselves() -> None:
    allowed = {"machine", "training.py", "trainer.py"}
    for file, tree in trees():
        if allowed & set(file.relative_to(ROOT).parts):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name != "__init__":
                for part in ast.walk(node):
                    targets = part.targets if isinstance(part, ast.Assign) else []
                    for target in targets:
                        text = ast.unparse(target)
                        assert not text.startswith("self.") or "[" in text, f"{file}: {text}"


def test_physics_kernels_and_solvers_keep_nothing() -> None:
    """No field is written, nor what a field holds: lists and dicts are no place for memories."""
    changing = {"append", "extend", "insert", "pop", "remove", "clear", "update", "setdefault"}
    for file, tree in trees():
        if file.relative_to(ROOT).parts[0] not in {"network", "solver", "fast"}:
            continue
        for node in ast.walk(tree):
            held: list[ast.expr] = []
            if isinstance(node, ast.Assign):
                held = [p for t in node.targets for p in getattr(t, "elts", [t])]
            elif isinstance(node, ast.AugAssign | ast.AnnAssign):
                held = [node.target]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                held = [node.func.value] if node.func.attr in changing else []
            for part in held:
                root = part
                while isinstance(root, ast.Subscript):
                    root = root.value
                assert not isinstance(root, ast.Attribute), f"{file}: {ast.unparse(node)}"


def test_no_class_inherits_twice() -> None:
    ours = {n.name: n for _, t in trees() for n in ast.walk(t) if isinstance(n, ast.ClassDef)}
    for node in ours.values():
        for base in node.bases:
            above = ours.get(ast.unparse(base))
            if above is not None:
                assert not any(ast.unparse(b) in ours for b in above.bases), node.name


def test_every_module_that_states_shapes_is_checked() -> None:
    stating = {
        "madem." + ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in FILES
        if "from jaxtyping" in file.read_text()
    }
    project = tomllib.loads((ROOT.parents[1] / "pyproject.toml").read_text())
    options = project["tool"]["pytest"]["ini_options"]["addopts"]
    checked = next(o for o in options if o.startswith("--jaxtyping-packages="))
    assert stating == set(checked.partition("=")[2].split(",")) - {"beartype.beartype"}
