"""The shape of the code itself: who may import whom, and how large things may grow."""

from __future__ import annotations

import ast
import re
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
    "beam": BASE,
    "data": BASE | {"network", "beam"},
    "experiments": BASE
    | {"network", "device", "ledger", "solver", "circuit", "machine", "learn", "data"}
    | {"training", "experiments", "beam"},
    "inspect": BASE
    | {"network", "solver", "circuit", "machine", "learn", "training", "experiments"},
    "report": BASE | {"beam", "device", "experiments", "inspect", "ledger"},
    "training": BASE
    | {"network", "device", "ledger", "solver", "circuit", "machine", "learn", "data"},
    "serve": BASE | {"beam", "data", "experiments", "learn", "ledger", "machine", "training"},
    "cli": BASE
    | {"beam", "circuit", "data", "device", "experiments", "inspect", "report"}
    | {"serve"},
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
        room, *below = file.relative_to(ROOT).parts
        assert not below or room in MAY_IMPORT, f"{room} is a room without arrows"
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("madem."):
                target = (node.module or "").split(".")[1]
                if below and target != room:
                    assert target in MAY_IMPORT[room], f"{file} imports {node.module}"


TOPICS = {
    "circuit/test_circuit.py", "cli/test_bench_to_run.py", "cli/test_faults.py",
    "cli/test_verbs.py", "data/test_documented.py", "device/test_bad_data.py",
    "experiments/braille/test_main_job.py", "experiments/test_kills.py", "machine/test_devices.py",
    "machine/test_empty.py", "network/test_energy.py", "test_package.py", "test_shape.py",
}  # fmt: skip
"""Tests of a room as a whole; all others are of the module of their name."""


def test_tests_lie_where_their_module_does() -> None:
    rooms = {file.name for file in ROOT.iterdir() if file.is_dir() and file.name[0] != "_"}
    tests = ROOT.parents[1] / "tests"
    assert rooms | {"fuzz"} == {d.name for d in tests.iterdir() if (d / "__init__.py").exists()}
    for test in tests.rglob("test_*.py"):
        own = test.relative_to(tests)
        module = ROOT / own.parent / own.name.removeprefix("test_")
        if own.parts[0] != "fuzz" and not module.exists() and not module.with_suffix("").is_dir():
            assert own.as_posix() in TOPICS, f"{own}: there is no {module.relative_to(ROOT)}"


def test_files_of_code_that_the_docs_name_exist() -> None:
    home = ROOT.parents[1]
    for page in [*home.glob("*.md"), *(home / "docs").rglob("*.md")]:
        for name in re.findall(
            r"`([a-z_0-9/]+/[a-z_0-9]+\.(?:py|inl|cpp|yaml))`", page.read_text()
        ):
            places = (home, ROOT, home / "native", *(d for d in ROOT.iterdir() if d.is_dir()))
            assert any((place / name).exists() for place in places), f"{page.name}: {name}"


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
        command = "typer." in ast.unparse(node.args)  # a person names those, of which few are given
        assert count <= (10 if command else 9), name  # self and eight
        assert node.args.kwarg is None, name


STATEFUL = {
    "machine": "machines and stores are what is written",
    "ledger/ledger.py": "a ledger adds up",
    "training/trainer.py": "the record of a training",
    "randomness.py": "what an estimator remembers, beside the generators",
    "learn/module.py": "a PyTorch module, and autograd's context",
    "learn/cells.py": "the cells of a PyTorch module",
    "learn/continual.py": "a learner beside a stream",
    "circuit/build.py": "a circuit is drawn element after element",
    "cli/__init__.py": "outputs that were closed",
    "cli/looks.py": "a table of rich",
    "report": "tables of rich, an environment of jinja",
    "serve": "a service that runs",
    "experiments/running/files.py": "an OSError's file name",
    "beam/electrons.py": "a structure of gemmi, which is made empty",
}
"""What may change a field after it was made, and why."""
MUTATORS = {
    "append", "extend", "insert", "pop", "remove", "clear", "update", "setdefault", "add", "discard"
}  # fmt: skip


def changed(function: ast.FunctionDef) -> Iterator[str]:
    """Yield the fields that a function assigns to, or whose lists, dicts and sets it changes."""
    for node in ast.walk(function):
        held: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            held = [part for target in node.targets for part in getattr(target, "elts", [target])]
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            held = [node.target]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            held = [node.func.value] if node.func.attr in MUTATORS else []
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
            held = [ast.Attribute(node.args[0], "setattr")]
        for part in held:
            root = part
            while isinstance(root, ast.Subscript):
                root = root.value
            if isinstance(root, ast.Attribute):
                yield ast.unparse(root)


def test_only_what_is_listed_changes_after_it_was_made() -> None:
    found = set[str]()
    for file, tree in trees():
        own = file.relative_to(ROOT)
        allowed = {own.as_posix(), own.parts[0]} & set(STATEFUL)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                made = node.name in {"__init__", "__post_init__"}
                fields = [f for f in changed(node) if not (made and f.startswith("self."))]
                assert allowed or not fields, f"{own} {node.name}: {fields}"
                found |= allowed if fields else set()
    assert found == set(STATEFUL)  # nothing is listed that changes nothing


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
