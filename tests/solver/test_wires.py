"""Crossbars with wires against a direct solve of Kirchhoff's laws, closed forms and ngspice."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

from madem.errors import InputError
from madem.fast import wires as module
from madem.network import Wires
from madem.solver import drops, effective, read, turned
from madem.solver.cells import Sinh, read_cells
from tests.conftest import skip_without

SETS = ["avx512", "avx2", "baseline", None]
ACCURATE = {torch.float32: 1e-6, torch.float64: 1e-9}


def conductances(kind: str, m: int, n: int) -> Tensor:
    draws = torch.Generator().manual_seed(m * n)
    u = torch.rand(m, n, generator=draws, dtype=torch.float64)
    return {
        "uniform": 1e-6 + 99e-6 * u,
        "log-uniform": 1e-6 * 100**u,
        "binary": torch.where(u < 0.5, 0.0, 100e-6),
    }[kind]


def voltages(batch: int, m: int) -> Tensor:
    draws = torch.Generator().manual_seed(7)
    return 0.2 * torch.randn(batch, m, generator=draws, dtype=torch.float64)


def direct(g: Tensor, v: Tensor, wires: Wires) -> tuple[Tensor, Tensor]:
    """Return the voltages of all nodes, from a general sparse solve of the nodal equations."""
    m, n = g.shape
    word, bit, drive, sense = wires.conductances
    rows, columns, values = [], [], []

    def resistor(a: int, b: int | None, conductance: float) -> None:
        for x, y, sign in ((a, a, 1), (a, b, -1), (b, a, -1), (b, b, 1)):
            if x is not None and y is not None:
                rows.append(x), columns.append(y), values.append(sign * conductance)

    for i in range(m):
        for j in range(n):
            at, low = i * n + j, m * n + i * n + j
            resistor(at, low, float(g[i, j]))
            resistor(at, at - 1 if j else None, word if j else drive)
            resistor(low, low + n if i + 1 < m else None, bit if i + 1 < m else sense)
    matrix = sparse.csc_matrix((values, (rows, columns)), shape=(2 * m * n, 2 * m * n))
    right = np.zeros((2 * m * n, len(v)))
    right[: m * n : n] = drive * v.T.numpy()
    found = torch.from_numpy(splu(matrix).solve(right)).T
    return found[:, : m * n].reshape(-1, m, n), found[:, m * n :].reshape(-1, m, n)


def difference(found: Tensor | None, wanted: Tensor) -> float:
    assert found is not None
    return float((found.double() - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["uniform", "log-uniform", "binary"])
@pytest.mark.parametrize("ohm", [0.5, 2.0, 10.0])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 9), (8, 8), (13, 37), (64, 64)])
def test_node_voltages(m: int, n: int, ohm: float, kind: str, dtype: torch.dtype) -> None:
    wires = Wires(ohm, 1.5 * ohm, 3.0, 5.0)
    g, v = conductances(kind, m, n), voltages(5, m)
    if dtype == torch.float32:  # the circuit that float32 can hold
        g, v = g.float().double(), v.float().double()
    word, bit = direct(g, v, wires)
    found = read(g.to(dtype), v.to(dtype), wires, nodes=True)
    largest = word.abs().max()
    for mine, theirs in ((found.word, word), (found.bit, bit)):
        assert mine is not None
        assert float((mine.double() - theirs).abs().max() / largest) < ACCURATE[dtype]
    sensed, drawn = bit[:, -1] / 5.0, (v - word[..., 0]) / 3.0
    assert difference(found.currents, sensed) < 5 * ACCURATE[dtype] or not sensed.any()
    assert float((found.drawn.double() - drawn).abs().max() * 3.0 / largest) < ACCURATE[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("instructions", SETS)
def test_kernels_do_the_same(instructions: str | None, dtype: torch.dtype) -> None:
    skip_without(instructions)
    wires = Wires(2.0, 1.0, 3.0, 5.0)
    g = torch.stack([conductances(k, 21, 10) for k in ("uniform", "log-uniform")]).to(dtype)
    v = voltages(19, 21).to(dtype)
    one = read(g, v, wires, nodes=True, instructions=instructions)
    other = read(g, v, wires, nodes=True, instructions=None)
    assert one.currents.shape == (2, 19, 10)
    for name in ("currents", "drawn", "word", "bit"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert difference(mine, theirs.double()) < {4: 40 * 2**-23, 8: 1e-12}[dtype.itemsize]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kirchhoff_and_power(dtype: torch.dtype) -> None:
    wires, g, v = Wires(2.0, 1.0, 3.0, 5.0), conductances("uniform", 24, 17).to(dtype), None
    v = voltages(3, 24).to(dtype)
    found = read(g, v, wires, nodes=True)
    assert found.word is not None
    assert found.bit is not None
    word, bit, drive, sense = wires.conductances
    w, b, given = found.word.double(), found.bit.double(), found.drawn.double()
    cells = g.double() * (w - b)
    along_words = word * (w[..., :-1] - w[..., 1:])
    along_bits = bit * (b[..., :-1, :] - b[..., 1:, :])
    net = cells.clone()
    net[..., :-1] += along_words
    net[..., 1:] -= along_words
    net[..., 0] -= given
    lower = -cells
    lower[..., :-1, :] += along_bits
    lower[..., 1:, :] -= along_bits
    lower[..., -1, :] += found.currents.double()
    largest = word * w.abs().max()  # round-off of a current is that of two voltages of a segment
    eps = torch.finfo(dtype).eps
    assert float(net.abs().max() / largest) < 30 * eps
    assert float(lower.abs().max() / largest) < 30 * eps
    power = (cells * (w - b)).sum((-2, -1)) + (along_words**2).sum((-2, -1)) / word
    power += (along_bits**2).sum((-2, -1)) / bit + (given**2).sum(-1) / drive
    power += (found.currents.double() ** 2).sum(-1) / sense
    delivered = (v.double() * given).sum(-1)
    assert float(((power - delivered) / delivered).abs().max()) < 1e3 * eps


def test_reciprocity_and_the_ideal_limit() -> None:
    g = conductances("log-uniform", 30, 12)
    wires = Wires(2.0, 1.0, 3.0, 5.0)
    a, back = effective(g, wires), effective(turned(g), wires.transposed).flip(-2, -1)
    assert a.shape == (12, 30)
    assert difference(back, a.mT) < 1e-11
    v = voltages(4, 30)
    assert difference(read(g, v, wires).currents, v @ a.mT) < 1e-10
    ideal = effective(g, Wires(1e-6, 1e-6, 1e-6, 1e-6))
    assert difference(ideal, g.mT) < 1e-6
    assert float(effective(conductances("uniform", 64, 64), Wires()).sum()) < 0.85 * float(
        conductances("uniform", 64, 64).sum()
    )


@pytest.fixture
def hints_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave type hints unchecked, as they are outside the tests."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("hints_alone")
def test_bad_input() -> None:
    g, v = torch.full((2, 3, 4), 1e-5), torch.ones(5, 3)
    alike = "must be float32 or float64, alike and on one device"
    cases: list[tuple[Any, Any, str]] = [
        (torch.where(torch.arange(4) == 2, -1.0, g), v, r"g\[0, 0, 2\] is -1"),
        (g * math.nan, v, "is nan"),
        (g + math.inf, v, "is inf"),
        (g, v[:, :2], "v must have the shape"),
        (g, v.expand(3, 5, 3), "v must have the shape"),
        (g, v[0], "v must have the shape"),
        (g[0, 0], v, "v must have the shape"),
        (g[..., :0], v, "v must have the shape"),
        (g, v.double(), alike),
        (g.int(), v.int(), alike),
        (g.half(), v.half(), alike),
        (g + 0j, v + 0j, alike),
        (g, v * math.nan, r"v must be finite, but v\[0, 0\] is nan"),
        (g.numpy(), v, "g must be a dense tensor, but is ndarray: torch.as_tensor makes one"),
        (g, v.numpy(), "v must be a dense tensor, but is ndarray"),
        (g[0].to_sparse(), v, "g must be a dense tensor"),
    ]
    for bad_g, bad_v, message in cases:
        for reading in (read, drops, partial(read_cells, curve=Sinh(0.5))):
            with pytest.raises(InputError, match=message) as told:
                reading(bad_g, bad_v, wires=Wires())
            assert len(str(told.value)) < 300
    for bad in (g.numpy(), -g, g.int(), g[0, 0]):
        with pytest.raises(InputError):
            effective(bad, Wires())
    for sources, message in (
        (torch.zeros(3, 4, 6), "of sources"),
        (torch.zeros(3, 4, 5).double(), alike),
        (torch.full((3, 4, 5), math.nan), "sources must be finite"),
    ):
        with pytest.raises(InputError, match=message):
            drops(g, v, Wires(), sources)
    for tolerance, budget in ((0.0, 1), (-1.0, 1), (math.nan, 1), (None, -1)):
        with pytest.raises(InputError, match="tolerance must be positive and budget not negative"):
            read(g, v, Wires(), tolerance=tolerance, budget=budget)
    for name in ("word", "bit", "drive", "sense"):
        for value in (0.0, -1.0, math.nan, math.inf):
            with pytest.raises(InputError, match=f"{name} must be a positive, finite"):
                Wires(**{name: value})


def test_unusual_input() -> None:
    g, v = conductances("uniform", 6, 4), voltages(3, 6)
    wanted = read(g, v, Wires()).currents
    assert torch.equal(read(g.mT.contiguous().mT, v.T.contiguous().T, Wires()).currents, wanted)
    assert torch.equal(read(g.expand(2, 6, 4), v, Wires()).currents[1], wanted)
    assert read(g, v[:0], Wires()).currents.shape == (0, 4)
    assert read(g.expand(0, 6, 4), v, Wires()).currents.shape == (0, 3, 4)
    for scale in (1e-30, 1e30):  # squares of these are nothing, or infinite, in float32
        found = read(g.float(), scale * v.float(), Wires()).currents.double() / scale
        assert difference(found, wanted) < 1e-6
    assert not read(g, 0 * v, Wires()).currents.any()


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of torch's forward mode
def test_gradients() -> None:
    """Of all that a read returns, twice, backward and forward, by cells, inputs and sources."""
    wires = Wires(2.0, 3.0, 5.0, 7.0)
    draws = torch.Generator().manual_seed(3)
    g = 0.01 + 0.2 * torch.rand(2, 3, 2, generator=draws, dtype=torch.float64)
    v, sources = voltages(2, 3), 0.1 * torch.rand(2, 3, 2, 2, generator=draws).double()
    given = [x.requires_grad_() for x in (g, v, sources)]

    def nodes(g: Tensor, v: Tensor) -> tuple[Tensor | None, ...]:
        found = read(g, v, wires, nodes=True)
        return found.currents, found.drawn, found.word, found.bit

    check = partial(torch.autograd.gradcheck, fast_mode=True)
    assert check(nodes, (g, v), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(
        lambda g, v: read(g, v, wires).currents, (g, v), fast_mode=True
    )
    assert check(lambda *x: drops(*x[:2], wires, x[2]).across, given)
    for turn in (False, True):
        across = g.mT if turn else g
        assert check(lambda g: effective(g, wires), (across,))
    single = g.detach().float().requires_grad_()
    found = read(single, v.detach().float(), wires).currents
    assert found.dtype == torch.float32
    (mine,) = torch.autograd.grad(found.sum(), single)
    (theirs,) = torch.autograd.grad(read(g, v, wires).currents.sum(), g)
    assert difference(mine, theirs) < 1e-6
    with torch.no_grad():
        assert not read(g, v, wires).currents.requires_grad


def test_gradient_where_wires_are_poor_and_cells_open() -> None:
    """As the product of two voltages, which conjugate gradients find: ``dA/dg = shares drops``."""
    g, wires = 1e3 * conductances("binary", 6, 5).double(), Wires(3.0, 4.0, 20.0, 5.0)
    v, seen = voltages(1, 6), torch.ones(1, 5, dtype=torch.float64)
    (mine,) = torch.autograd.grad(read(g.requires_grad_(), v, wires).currents.sum(), g)
    with torch.no_grad():
        ahead = drops(g, v, wires).across
        back = drops(turned(g), seen, wires.transposed).across
    assert ahead is not None
    assert back is not None
    assert difference(mine, ahead[..., 0] * turned(back[..., 0].mT.mT)) < 1e-9


def test_works_without_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    g, v = conductances("uniform", 6, 5), voltages(3, 6)
    wanted = read(g, v, Wires()).currents
    monkeypatch.setattr(module, "kernels", None)
    assert difference(read(g, v, Wires()).currents, wanted) < 1e-12


@pytest.mark.skipif(shutil.which("ngspice") is None, reason="needs ngspice")
@pytest.mark.parametrize("size", [8, 24])
def test_against_ngspice(size: int, tmp_path: Path) -> None:
    wires, g, v = Wires(2.0, 3.0, 5.0, 7.0), conductances("uniform", size, size), voltages(1, size)
    lines = ["crossbar", ".options reltol=1e-9 abstol=1e-18 vntol=1e-15 gmin=1e-18"]
    for i in range(size):
        lines += [f"V{i} d{i} 0 {float(v[0, i])!r}", f"Rd{i} d{i} w{i}_0 5"]
        lines += [f"Rs{i} b{size - 1}_{i} 0 7"]
        for j in range(size):
            lines.append(f"Rg{i}_{j} w{i}_{j} b{i}_{j} {1 / float(g[i, j])!r}")
            if j:
                lines.append(f"Rw{i}_{j} w{i}_{j - 1} w{i}_{j} 2")
            if i:
                lines.append(f"Rb{i}_{j} b{i - 1}_{j} b{i}_{j} 3")
    nodes = [f"{kind}{i}_{j}" for kind in "wb" for i in range(size) for j in range(size)]
    lines += [".op", ".control", "set numdgt=16", "run", "print all", ".endc", ".end"]
    (tmp_path / "x.cir").write_text("\n".join(lines))
    done = subprocess.run(
        ["ngspice", "-b", "x.cir"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    seen = dict(re.findall(r"^(\w+) = (\S+)$", done.stdout, re.MULTILINE))
    theirs = torch.tensor([float(seen[node]) for node in nodes], dtype=torch.float64)
    for dtype, accurate in ACCURATE.items():
        found = read(g.to(dtype), v.to(dtype), wires, nodes=True)
        assert found.word is not None
        assert found.bit is not None
        mine = torch.cat([found.word.flatten(), found.bit.flatten()])
        assert difference(mine, theirs) < accurate
