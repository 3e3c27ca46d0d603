"""Crossbars of non-linear cells with wires, against a general sparse Newton solve and ngspice."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from madem.circuit import Circuit, Source, Terminals, array, solve, verify
from madem.errors import InputError
from madem.network import Wires
from madem.solver import read
from madem.solver.cells import Curve, Measured, Selected, Sinh, read_cells

WIRES = Wires(4.0, 3.0, 5.0, 7.0)


def conductances(m: int, n: int) -> torch.Tensor:
    draws = torch.Generator().manual_seed(1)
    return 1e-6 + 99e-6 * torch.rand(m, n, generator=draws, dtype=torch.float64)


@pytest.mark.parametrize("bend", [0.1, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_a_general_solve(bend: float, dtype: torch.dtype) -> None:
    draws = torch.Generator().manual_seed(2)
    g, v = conductances(7, 5), 0.4 * torch.randn(3, 7, dtype=torch.float64, generator=draws)
    found = read_cells(g.to(dtype), v.to(dtype), WIRES, Sinh(bend))
    terminals = Terminals([f"x{i}" for i in range(7)], [f"y{j}" for j in range(5)])
    for k in range(3):
        sources = [Source(f"v{i}", f"x{i}", "0", float(u)) for i, u in enumerate(v[k])]
        senses = [Source(f"s{j}", f"y{j}", "0", 0.0) for j in range(5)]
        elements = array("tile", g.numpy(), terminals, WIRES, bend=bend)
        circuit = Circuit((*sources, *senses, *elements))
        at = solve(circuit)
        currents = np.array([at.current(f"s{j}") for j in range(5)])
        close = 2e-5 if dtype == torch.float32 else 1e-9
        error = np.abs(found.currents[k].double().numpy() - currents).max()
        assert error < close * np.abs(currents).max()
        if shutil.which("ngspice") and k == 0:
            assert verify("read", circuit).max_relative_difference < 1e-9


@pytest.mark.parametrize(
    "curve",
    [Sinh(0.15), Selected(1e-7, 0.03), Measured((-1.0, -0.1, 0.1, 1.0), (-4.0, -0.1, 0.1, 4.0))],
)
def test_kirchhoff_with_every_curve(curve: Curve) -> None:
    """Every cell carries what its curve says at the voltage it sees, and the currents add up."""
    g = torch.stack([conductances(6, 4), 0.3 * conductances(6, 4)])
    v = 0.5 * torch.randn(2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    found = read_cells(g, v, WIRES, curve)
    assert found.across is not None
    volts = found.across.movedim(-1, 1)
    cells, slope = curve.flow(g[:, None].expand_as(volts), volts)
    assert float((cells.sum(-2) - found.currents).abs().max()) < 1e-9 * float(cells.abs().max())
    small = 1e-7 * torch.ones_like(volts)
    above, below = (curve.flow(g[:, None].expand_as(volts), volts + s * small)[0] for s in (1, -1))
    assert torch.allclose((above - below) / 2e-7, slope, rtol=1e-4, atol=1e-12)
    assert int(found.iterations.max()) < 25


def test_cells_that_hardly_bend_are_linear() -> None:
    g, v = conductances(9, 9), torch.linspace(-0.2, 0.2, 9, dtype=torch.float64)[None]
    bent = read_cells(g, v, WIRES, Sinh(1e4)).currents
    flat = read(g, v, WIRES).currents
    assert float((bent - flat).abs().max()) < 1e-9 * float(flat.abs().max())


def test_poor_wires() -> None:
    """Kirchhoff's law where conjugate gradients do not reach, and a direct solve takes over."""
    g, wires = 100 * conductances(12, 9), Wires(1e4, 1e4, 1e4, 1e4)
    v = torch.linspace(-0.4, 0.4, 12, dtype=torch.float64)[None]
    bent, flat = (read_cells(g, v, wires, Sinh(bend)) for bend in (0.05, 1e4))
    assert bent.across is not None
    cells, _ = Sinh(0.05).flow(g, bent.across[..., 0])
    assert float((cells.sum(0) - bent.currents[0]).abs().max()) < 1e-9 * float(cells.abs().max())
    assert torch.allclose(flat.currents, read(g, v, wires).currents, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    "curve",
    [Sinh(0.5), Selected(1e-2, 0.3), Measured((-1.0, -0.1, 0.1, 1.0), (-4.0, -0.1, 0.1, 4.0))],
)
def test_gradients(curve: Curve) -> None:
    draws = torch.Generator().manual_seed(4)
    g = (0.01 + 0.1 * torch.rand(2, 3, 2, generator=draws, dtype=torch.float64)).requires_grad_()
    v = torch.randn(2, 3, generator=draws, dtype=torch.float64).requires_grad_()

    def found(g: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        reading = read_cells(g, v, WIRES, curve)
        return reading.currents, reading.across

    assert torch.autograd.gradcheck(found, (g, v), fast_mode=True)


def test_bad_cells() -> None:
    with pytest.raises(InputError, match="bend must be positive, in volts, but is 0"):
        Sinh(0.0)
    with pytest.raises(InputError, match="volts must rise from point to point"):
        Measured((0.0, 0.0), (0.0, 1.0))
    with pytest.raises(InputError, match="volts and flows must be two or more pairs"):
        Measured((0.0, 1.0, 2.0), (0.0, 1.0))
    with pytest.raises(InputError, match="saturation must be positive, but is -1"):
        Selected(-1.0, 0.1)
    with pytest.raises(InputError, match=r"2 of 2 reads did not come to rest within 2 iterations"):
        read_cells(conductances(3, 3), torch.ones(2, 3).double(), WIRES, Sinh(0.05), budget=2)
