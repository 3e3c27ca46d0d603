"""Every read within the stated range against a direct solve of Kirchhoff's laws in long double.

The whole grid, and the table of docs/circuits.md, in about ten minutes:
``pytest -m slow -s tests/solver/test_crossbars.py``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.sparse.linalg import splu

from madem.errors import InputError
from madem.network import Wires
from madem.solver import drops, effective, read, turned

SHAPES = [*product((1, 2, 17, 64, 130), repeat=2)]
SHAPES += [(m, 300) for m in (1, 2, 17, 64)] + [(300, m) for m in (1, 2, 17, 64)] + [(300, 300)]
WIRES = {
    "0.01 ohm": Wires(0.01, 0.01, 0.01, 0.01),
    "1 ohm": Wires(1.0, 1.0, 1.0, 1.0),
    "100 ohm": Wires(100.0, 100.0, 100.0, 100.0),
    "10 kohm": Wires(1e4, 1e4, 1e4, 1e4),
    "bit lines 10 kohm, the rest 0.01": Wires(0.01, 1e4, 0.01, 0.01),
    "bit lines and drivers 10 kohm": Wires(0.01, 1e4, 1e4, 0.01),
    "word lines and sense 10 kohm": Wires(1e4, 0.01, 0.01, 1e4),
    "terminations 10 kohm": Wires(0.01, 0.01, 1e4, 1e4),
    "lines 10 kohm": Wires(1e4, 1e4, 0.01, 0.01),
    "0.01, 100, 50, 0.1 ohm": Wires(0.01, 100.0, 50.0, 0.1),
}
CELLS = ("1e-12", "1e-2", "uniform", "log-uniform", "binary", "half zeros", "open rows")
ACCURATE = {torch.float64: (1e-9, 1e-9), torch.float32: (5e-6, 1e-6)}
"""Currents, of the largest at a terminal, and voltages, of the largest input."""


def conductances(kind: str, m: int, n: int) -> np.ndarray:
    draws = np.random.default_rng(m * n)
    u, half = draws.random((m, n)), draws.random((m, n)) < 0.5
    return {
        "1e-12": np.full((m, n), 1e-12),
        "1e-2": np.full((m, n), 1e-2),
        "uniform": 1e-12 + 1e-2 * u,
        "log-uniform": 10.0 ** (-12 + 10 * u),
        "binary": np.where(half, 1e-12, 1e-2),
        "half zeros": np.where(half, 0.0, 1e-4 * u),
        "open rows": np.where(half & (np.arange(m) % 3 > 0)[:, None], 1e-2 * u, 0.0),
    }[kind]


def nodal(g: np.ndarray, wires: Wires) -> Any:
    """Return a factorisation of the nodal equations, word lines first."""
    (m, n), (word, bit, drive, sense) = g.shape, wires.conductances
    at = np.arange(2 * m * n).reshape(2, m, n)
    joined = [
        (at[0], at[1], g),
        (at[0][:, 1:], at[0][:, :-1], np.full((m, n - 1), word)),
        (at[1][1:], at[1][:-1], np.full((m - 1, n), bit)),
    ]
    a, b, y = (
        np.concatenate([part.ravel() for part in parts]) for parts in zip(*joined, strict=True)
    )
    ends = np.concatenate([at[0][:, 0], at[1][-1]])
    to_ground = np.concatenate([np.full(m, drive), np.full(n, sense)])
    values = np.concatenate([y, y, -y, -y, to_ground])
    rows, columns = np.concatenate([a, b, a, b, ends]), np.concatenate([a, b, b, a, ends])
    matrix = sparse.csc_matrix((values, (rows, columns)), shape=(2 * m * n, 2 * m * n))
    symmetric = {"SymmetricMode": True}
    return splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=symmetric)


def exact(g: np.ndarray, v: np.ndarray, wires: Wires) -> tuple[np.ndarray, np.ndarray]:
    """Return the voltages of all nodes, ``(batch, m, n)``, corrected in long double."""
    factored, many = nodal(g, wires), (len(v), *g.shape)
    word, bit, drive, sense = (1 / np.longdouble(r) for r in vars(wires).values())
    w, b = np.zeros(many, np.longdouble), np.zeros(many, np.longdouble)
    for _ in range(4):
        up = -g * (w - b)  # what every node lacks by Kirchhoff's law
        down = -up
        along, below = word * (w[..., :-1] - w[..., 1:]), bit * (b[:, :-1] - b[:, 1:])
        up[..., :-1] -= along
        up[..., 1:] += along
        up[..., 0] += drive * (v - w[..., 0])
        down[:, :-1] -= below
        down[:, 1:] += below
        down[:, -1] -= sense * b[:, -1]
        lacking = np.concatenate([up.reshape(len(v), -1), down.reshape(len(v), -1)], 1)
        scale = np.abs(lacking).max(1, keepdims=True).clip(1e-300)
        moved = factored.solve((lacking / scale).astype(float).T).T * scale
        w += moved[:, : g.size].reshape(many)
        b += moved[:, g.size :].reshape(many)
    return w, b


How = tuple[torch.dtype, str | None]
"""Type, and instruction set."""


def errors(g: np.ndarray, wires: Wires, hows: list[How]) -> Iterator[tuple[float, float, int]]:
    """Yield the worst errors of currents, at both ends, and of voltages, and the iterations.

    The array and its inputs are those that float32 can hold.
    """
    g = g.astype(np.float32).astype(float)
    v = np.random.default_rng(7).uniform(-0.2, 0.2, (2, len(g))).astype(np.float32).astype(float)
    w, b = exact(g, v, wires)
    sensed, drawn = b[:, -1] / wires.sense, (g * (w - b)).sum(-1)
    largest = max(np.abs(sensed).max(), np.abs(drawn).max(), 1e-300)

    def worst(scale: float, *pairs: tuple[torch.Tensor | None, np.ndarray]) -> float:
        off = [np.abs(x.double().numpy() - y).max() for x, y in pairs if x is not None]
        return float(max(off) / scale)

    for dtype, instructions in hows:
        given = (torch.from_numpy(x).to(dtype) for x in (g, v))
        found = read(*given, wires, nodes=True, instructions=instructions)
        current = worst(largest, (found.currents, sensed), (found.drawn, drawn))
        voltage = worst(np.abs(v).max(), (found.word, w), (found.bit, b))
        yield current, voltage, int(found.iterations.max())


def cases() -> Iterator[tuple[np.ndarray, Wires, str]]:
    """Yield arrays of every shape, as a forward read meets them and as a transposed one does.

    Of 300 x 300 only those that are hardest, as a forward read meets them.
    """
    for (m, n), kind, (name, wires) in product(SHAPES, CELLS, WIRES.items()):
        g = conductances(kind, m, n)
        if m * n < 90_000 or kind in ("1e-2", "log-uniform"):
            yield g, wires, name
        if m <= n < 300:
            yield g.T[::-1, ::-1].copy(), wires.transposed, name


@pytest.mark.parametrize("wires", WIRES.values(), ids=WIRES)
def test_small_arrays(wires: Wires) -> None:
    hows: list[How] = list(product(ACCURATE, ("", None)))
    for m, n in ((1, 1), (1, 17), (17, 2), (8, 8)):
        for kind in CELLS:
            found = errors(conductances(kind, m, n), wires, hows)
            for (dtype, instructions), (current, voltage, _) in zip(hows, found, strict=True):
                assert current < ACCURATE[dtype][0], (m, n, kind, instructions)
                assert voltage < ACCURATE[dtype][1], (m, n, kind, instructions)


@pytest.mark.parametrize(("m", "n"), [(1, 300), (300, 1), (64, 64)])
def test_larger_arrays(m: int, n: int) -> None:
    for kind, name in product(("1e-2", "log-uniform"), ("100 ohm", "10 kohm", "lines 10 kohm")):
        found = errors(conductances(kind, m, n), WIRES[name], [(x, "") for x in ACCURATE])
        for accurate, (current, voltage, _) in zip(ACCURATE.values(), found, strict=True):
            assert current < accurate[0], (kind, name)
            assert voltage < accurate[1], (kind, name)


@pytest.mark.slow
def test_every_read_in_the_range() -> None:
    """The whole grid; prints the worst errors and how reads were solved, wires by wires."""
    table: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for g, wires, name in cases():
        found = errors(g, wires, [(x, "") for x in ACCURATE])
        for (dtype, accurate), one in zip(ACCURATE.items(), found, strict=True):
            current, voltage, iterations = one
            assert current < accurate[0], (g.shape, wires, dtype)
            assert voltage < accurate[1], (g.shape, wires, dtype)
            key = f"{name} | {str(dtype).removeprefix('torch.')}"
            directly = g.any() and not iterations
            table[key].append((current, voltage, iterations, directly))
    print()
    for key, rows in table.items():
        currents, voltages, iterations, directly = np.array(rows).T
        print(f"| {key} | {currents.max():.0e} | {voltages.max():.0e} | {iterations.max():.0f} | "
              f"{100 * directly.mean():.0f} % |")  # fmt: skip


def test_one_hard_array_of_many() -> None:
    """What an easy array is solved for does not change with a hard one beside it."""
    wires, v = Wires(10.0, 10.0, 10.0, 10.0), torch.linspace(-0.2, 0.2, 40, dtype=torch.float64)
    easy, hard = torch.full((40, 40), 1e-5).double(), torch.full((40, 40), 1.0).double()
    for dtype, instructions in product(ACCURATE, ("", None)):
        both = torch.stack([easy, hard]).to(dtype)
        found = read(both, v[None].to(dtype), wires, nodes=True, instructions=instructions)
        alone = read(easy.to(dtype), v[None].to(dtype), wires, instructions=instructions)
        limit = 1e-6 if dtype == torch.float32 else 1e-13
        assert alone.drawn is not None  # the largest currents: those sensed nearly cancel
        apart = (found.currents[0] - alone.currents).abs().max()
        assert float(apart) <= limit * float(alone.drawn.abs().max())
        assert int(found.iterations[1]) == 0
        _, b = exact(hard.numpy(), v[None].numpy(), wires)
        assert found.bit is not None
        assert np.abs(found.bit[1].double().numpy() - b).max() < ACCURATE[dtype][1]


def test_arrays_from_the_field() -> None:
    """Lines of 1 kohm a segment, whatever the budget, and one shorted cell in an ordinary array."""
    draws = torch.Generator().manual_seed(0)
    g = 1e-5 + 1e-3 * torch.rand(32, 32, generator=draws, dtype=torch.float64)
    v = 0.4 * torch.rand(1, 32, generator=draws, dtype=torch.float64) - 0.2
    shorted = torch.full((16, 16), 2e-5)
    shorted[3, 4] = 300.0
    for cells, inputs, wires, budget in (
        (g, v, Wires(1e3, 1e3, 1e3, 1e3), 100),
        (g, v, Wires(1e3, 1e3, 1e3, 1e3), 5000),
        (shorted, torch.full((1, 16), 0.2), Wires(), 100),
    ):
        _, b = exact(cells.double().numpy(), inputs.double().numpy(), wires)
        wanted = b[:, -1] / wires.sense
        found = read(cells, inputs, wires, budget=budget).currents.double().numpy()
        accurate = ACCURATE[cells.dtype][0]
        assert np.abs(found - wanted).max() < accurate * np.abs(wanted).max()


def test_hard_arrays_in_all_that_reads() -> None:
    """Effective matrices, sources and cells' voltages where conjugate gradients do not reach."""
    wires, m, n = Wires(1e4, 300.0, 50.0, 1e3), 20, 12
    g = torch.from_numpy(conductances("uniform", m, n))
    w, b = exact(g.numpy(), np.eye(m), wires)
    matrix = torch.from_numpy((b[:, -1] / wires.sense).astype(float)).T
    largest = float(matrix.abs().max())
    assert float((effective(g, wires, budget=0) - matrix).abs().max()) < 1e-9 * largest
    back = effective(turned(g), wires.transposed, budget=0).flip(-2, -1)
    assert float((back - matrix.T).abs().max()) < 1e-9 * largest
    seen = torch.from_numpy((w - b).astype(float)).movedim(0, -1)
    sources = 1e-6 * torch.randn(m, n, m, dtype=torch.float64)
    for budget in (0, 1000):
        found = drops(g, torch.eye(m, dtype=torch.float64), wires, budget=budget).across
        assert found is not None
        assert float((found - seen).abs().max()) < 1e-9
        # a source through a cell of conductance g is that of g + h, less h times its voltage
        more = drops(g + 1e-4, torch.eye(m).double(), wires, -1e-4 * seen, budget=budget).across
        assert more is not None
        assert float((more - seen).abs().max()) < 1e-9
        one = drops(g, torch.zeros(m, m).double(), wires, sources, budget=budget)
        two = drops(g, torch.zeros(m, m).double(), wires, 2 * sources, budget=budget)
        assert torch.allclose(two.currents, 2 * one.currents, rtol=1e-9, atol=0)


def test_what_is_missed_says_what_helps() -> None:
    g, v = torch.full((3, 3), 1e-5, dtype=torch.float64), torch.ones(1, 3, dtype=torch.float64)
    with pytest.raises(InputError, match="ask for a tolerance of") as told:
        read(g, v, Wires(), tolerance=1e-30)
    enough = float(str(told.value).split("ask for a tolerance of ")[1].split(";")[0])
    read(g, v, Wires(), tolerance=enough)
    for cells, wires in ((1e12, WIRES["10 kohm"]), (1e9, Wires(1e-3, 1e-3, 1e9, 1e9))):
        with pytest.raises(InputError, match="within 1e12 of one another"):
            read(torch.full_like(g, cells), v, wires)
    with pytest.raises(InputError, match="budget=1000"):
        read(g[:1, :1].expand(1, 900, 900), torch.ones(1, 900).double(), Wires(), budget=0)
