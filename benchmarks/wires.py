"""64 reads of a crossbar with wires, set-up included: our kernel against general solvers.

    python benchmarks/wires.py [--size N ...] [--json FILE] [--ngspice]

All run in this process on one thread, alternating; the shortest of the rounds counts. The circuit
is that of docs/circuits.md: 2 ohm a segment, conductances uniform in 1-100 uS. General solvers
factor the nodal equations in float64 (``scipy-splu``, and ``qdldl``, ``pypardiso``, ``cholmod``
where their packages are installed) and solve for all reads at once; ``numba`` is the kernel's
algorithm as a plain loop over reads, compiled (``pip install numba``); ``torch`` is the kernel's
reference. ``ngspice`` is one read. The floor is the kernel's own multiplications, counted, at the
rate of a matrix product measured here.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

from madem.network import Wires
from madem.solver import read
from madem.solver.crossbars import TOLERANCES

READS = 64
OHM = 2.0
Solve = Callable[[np.ndarray], np.ndarray]
Timed = tuple[float, float, np.ndarray]
"""Set-up and solve time, s, and the voltages of all nodes, (reads, nodes)."""


def nodal(g: Tensor) -> sparse.csc_matrix:
    """Return the nodal equations of one crossbar, word lines first."""
    m, n = g.shape
    wire, at = 1 / OHM, np.arange(2 * m * n).reshape(2, m, n)
    pairs = [
        (at[0].ravel(), at[1].ravel(), g.double().numpy().ravel()),
        (at[0][:, 1:].ravel(), at[0][:, :-1].ravel(), np.full(m * (n - 1), wire)),
        (at[1][1:].ravel(), at[1][:-1].ravel(), np.full((m - 1) * n, wire)),
    ]
    a, b, value = (np.concatenate(part) for part in zip(*pairs, strict=True))
    ends = np.concatenate([at[0][:, 0], at[1][-1]])
    rows = np.concatenate([a, b, a, b, ends])
    columns = np.concatenate([a, b, b, a, ends])
    values = np.concatenate([value, value, -value, -value, np.full(m + n, wire)])
    return sparse.csc_matrix((values, (rows, columns)), shape=(2 * m * n, 2 * m * n))


def right_hand_sides(g: Tensor, v: Tensor) -> np.ndarray:
    m, n = g.shape
    found = np.zeros((2 * m * n, len(v)))
    found[: m * n : n] = v.double().T.numpy() / OHM
    return found


def direct(
    g: Tensor, v: Tensor, factor: Callable[[Any], Callable[[np.ndarray], np.ndarray]]
) -> Timed:
    matrix, right = nodal(g), right_hand_sides(g, v)
    start = time.perf_counter()
    solve = factor(matrix)
    middle = time.perf_counter()
    found = solve(right)
    return middle - start, time.perf_counter() - middle, found.T


def factor_qdldl(matrix: Any) -> Solve:
    solver = importlib.import_module("qdldl").Solver(matrix)
    return lambda right: np.stack([solver.solve(column) for column in right.T], 1)


def factor_pardiso(matrix: Any) -> Solve:
    solver = importlib.import_module("pypardiso").PyPardisoSolver(mtype=11)
    rows = sparse.csr_matrix(matrix)
    solver.factorize(rows)
    return lambda right: solver.solve(rows, right)


def factor_cholmod(matrix: Any) -> Solve:
    return importlib.import_module("sksparse.cholmod").cholesky(matrix)


DIRECT = {
    "scipy-splu": ("scipy", lambda matrix: splu(matrix, permc_spec="MMD_AT_PLUS_A").solve),
    "qdldl": ("qdldl", factor_qdldl),
    "pypardiso": ("pypardiso", factor_pardiso),
    "cholmod": ("sksparse.cholmod", factor_cholmod),
}


def ours(g: Tensor, v: Tensor, instructions: str | None) -> Timed:
    """Return one call, its set-up timed with it."""
    wires = Wires(OHM, OHM, OHM, OHM)
    start = time.perf_counter()
    read(g, v, wires, instructions=instructions)
    taken = time.perf_counter() - start
    found = read(g, v, wires, nodes=True, instructions=instructions)
    assert found.word is not None
    assert found.bit is not None
    nodes = torch.cat([found.word.flatten(1), found.bit.flatten(1)], 1)
    return 0.0, taken, nodes.numpy()


def compiled() -> Callable[[Tensor, Tensor], Timed] | None:
    """Return the algorithm in numba, None where it is not installed."""
    try:
        kernel = importlib.import_module("wires_numba")
    except ImportError:
        return None

    def run(g: Tensor, v: Tensor) -> Timed:
        cells, inputs = g.numpy(), v.numpy()
        kind = cells.dtype.type
        out = np.empty((len(inputs), 2 * cells.size), cells.dtype)
        start = time.perf_counter()
        factors = [part.astype(cells.dtype) for part in kernel.lines(cells.astype(float), 1 / OHM)]
        middle = time.perf_counter()
        kernel.solve(cells, inputs, kind(1 / OHM), TOLERANCES[g.dtype], *factors, out)
        return middle - start, time.perf_counter() - middle, out

    return run


def spice(g: Tensor, v: Tensor) -> Timed:
    """Return one read by ngspice, its start and its parsing included."""
    m, n = g.shape
    cards = ["crossbar", ".options reltol=1e-9 abstol=1e-18 vntol=1e-15 gmin=1e-18"]
    for i in range(m):
        cards += [f"V{i} d{i} 0 {float(v[0, i])!r}", f"Rd{i} d{i} w{i}_0 {OHM}"]
        cards += [f"Rg{i}_{j} w{i}_{j} b{i}_{j} {1 / float(g[i, j])!r}" for j in range(n)]
        cards += [f"Rw{i}_{j} w{i}_{j - 1} w{i}_{j} {OHM}" for j in range(1, n)]
        cards += [f"Rb{i}_{j} b{i - 1}_{j} b{i}_{j} {OHM}" for j in range(n) if i]
    cards += [f"Rs{j} b{m - 1}_{j} 0 {OHM}" for j in range(n)] + [".op"]
    cards += [".control", "set numdgt=16", "run", "print all", ".endc", ".end"]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "x.cir").write_text("\n".join(cards))
        start = time.perf_counter()
        told = subprocess.run(
            ["ngspice", "-b", "x.cir"], cwd=folder, capture_output=True, text=True, check=False
        ).stdout
        taken = time.perf_counter() - start
    pairs = (line.split(" = ") for line in told.splitlines() if " = " in line)
    seen = {pair[0]: pair[1] for pair in pairs}
    nodes = [f"{kind}{i}_{j}" for kind in "wb" for i in range(m) for j in range(n)]
    return 0.0, taken, np.array([[float(seen[node]) for node in nodes]])


def floor_ms(size: int, iterations: int, dtype: torch.dtype) -> float:
    """Return the time of the kernel's multiplications, ms: 17 a node, read and iteration.

    Eight along word lines (one each for the drive, the loss, the lift, the loss, the current, the
    sum, the wire's loss, the step of p), nine along bit lines. A start and an end count as one.
    """
    a, b = (torch.rand(512, 512, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(10):
        start = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - start)
    return 1e3 * 17 * READS * size**2 * (iterations + 1) * min(times) / 512**3


def methods(size: int, with_ngspice: bool) -> list[tuple[str, torch.dtype, Callable[..., Timed]]]:
    """Return everything that can be measured here, and say what cannot."""
    single, double = torch.float32, torch.float64
    found: list[tuple[str, torch.dtype, Callable[..., Timed]]] = [
        ("native", single, lambda g, v: ours(g, v, "")),
        ("native", double, lambda g, v: ours(g, v, "")),
        ("torch", single, lambda g, v: ours(g, v, None)),
    ]
    kernel = compiled()
    if kernel:
        found += [("numba", dtype, kernel) for dtype in (single, double)]
    else:
        print("numba is not installed: left out")
    for name, (package, factor) in DIRECT.items():
        try:
            importlib.import_module(package)
        except ImportError:
            print(f"{name} is not installed: left out")
            continue
        found.append((name, double, lambda g, v, factor=factor: direct(g, v, factor)))
    if shutil.which("ngspice") is None:
        print("ngspice is not installed: left out")
    elif size <= 64 or with_ngspice:
        found.append(("ngspice, one read", double, spice))
    return found


def measure(size: int, rounds: int, with_ngspice: bool) -> list[dict[str, Any]]:
    draws = torch.Generator().manual_seed(0)
    g = (1e-6 + 99e-6 * torch.rand(size, size, generator=draws, dtype=torch.float64)).float()
    v = (0.2 * torch.rand(READS, size, generator=draws, dtype=torch.float64)).float()
    _, _, exact = direct(g, v, DIRECT["scipy-splu"][1])
    rows = []
    for name, dtype, method in track(methods(size, with_ngspice), f"{size} x {size}"):
        slow = name.startswith("ngspice") or size > 128
        runs = [method(g.to(dtype), v.to(dtype)) for _ in range(2 if slow else rounds)]
        best = min(runs, key=lambda run: run[0] + run[1])
        wanted = exact[: len(best[2])]
        rows.append({
            "size": size, "method": name, "dtype": str(dtype).removeprefix("torch."),
            "setup_ms": 1e3 * best[0], "solve_ms": 1e3 * best[1],
            "relative_error": float(np.abs(best[2] - wanted).max() / np.abs(wanted).max()),
        })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs="*", default=[64, 256])
    parser.add_argument("--json", type=Path, help="where to write the rows")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--ngspice", action="store_true", help="ngspice above 64 x 64 too: minutes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for size in options.size:
        rows += (part := measure(size, options.rounds, options.ngspice))
        best = part[0]["setup_ms"] + part[0]["solve_ms"]
        for row in part:
            whole = row["setup_ms"] + row["solve_ms"]
            print(f"{size:4} {row['method']:18} {row['dtype']:8} {row['setup_ms']:9.2f} +"
                  f"{row['solve_ms']:10.2f} ms {whole / best:9.1f} x   "
                  f"error {row['relative_error']:.1e}")  # fmt: skip
        for dtype, whole in ((torch.float32, best), (torch.float64, part[1]["solve_ms"])):
            g, v = torch.full((size, size), 5e-5, dtype=dtype), torch.ones(1, size, dtype=dtype)
            count = int(read(g, v, Wires(OHM, OHM, OHM, OHM)).iterations.max())
            least = floor_ms(size, count, dtype)
            print(f"{size:4} floor of the arithmetic, {str(dtype).removeprefix('torch.')}: "
                  f"{least:.2f} ms; native is {whole / least:.1f} times that")  # fmt: skip
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
