"""A zoo of small networks, one for every kind of energy, that many tests walk through."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from madem.machine import Simulated
from madem.network import (
    Amplified,
    Average,
    Box,
    Conv,
    Dense,
    Energy,
    Free,
    Halves,
    Joint,
    Layer,
    Maximum,
    Network,
    Readout,
    Recurrent,
    Resistive,
    ResistiveConv,
    Shockley,
    Skip,
    Softmax,
    Table,
    Tanh,
    Thresholds,
    diodes,
)
from madem.randomness import stream
from madem.solver import Solver, Sweep

DTYPE = torch.float64
TIGHT = Sweep(1e-13, 5000)


def chain(*units: int) -> tuple[Joint, ...]:
    """Resistors from layer to layer."""
    return tuple(
        Resistive((a,), b, (i, i + 1), g_min=0.01) for i, (a, b) in enumerate(pairwise(units))
    )


def resistive(*units: int, law: object = None) -> Network:
    hidden = tuple(Layer(n, law or diodes()) for n in units[1:-1])
    return Network(units[0], (*hidden, Layer(units[-1], Free(leak=0.0))), chain(*units))


SINGLE = Halves((Shockley(1e-6), Shockley(1e-6, forward=False, backward=True)))
DOUBLE = Shockley(1e-6, forward=True, backward=True)
IV = Table((-2.0, -0.1, 0.0, 0.3, 2.0), (-5.0, -0.2, 0.0, 0.1, 4.0))
HARD = Box(0.0, 1.0)

ZOO = {
    "hopfield": Network(9, (Layer(8, HARD), Layer(6, HARD), Layer(4, Free()))),
    "pair": Network(9, (Layer(8, HARD), Layer(4, Free()))),
    "readout": Network(9, (Layer(8, HARD), Layer(4, Readout()))),
    "tanh": Network(9, (Layer(8, Tanh()), Layer(4, Free()))),
    "softmax": Network(
        9,
        (Layer(8, Softmax(3.0)), Layer(4, Free())),
        (Dense((9,), 8, bias=False), Thresholds(8), Dense((8,), 4, (1, 2))),
    ),
    "softmax-amplified": Network(
        9,
        (Layer(8, HARD), Layer(6, Softmax(20.0)), Layer(4, Readout())),
        (Dense((9,), 8), Amplified(Dense((8,), 6, (1, 2)), 1.0, 0.5), Dense((6,), 4, (2, 3))),
    ),
    "recurrent": Network(
        9,
        (Layer(6, HARD), Layer(6, HARD), Layer(4, Free())),
        (Dense((9,), 6), Dense((6,), 6, (1, 2)), Dense((6,), 4, (2, 3)), Skip((1, 2), 0.3),
         Recurrent(6, 1), Dense((9,), 4, (0, 3), bias=False)),
    ),
    "conv": Network(
        (1, 6, 6),
        (Layer((3, 4, 4), HARD), Layer(4, Free())),
        (Conv(1, 3, 3), Dense((3, 4, 4), 4, (1, 2))),
    ),
    "conv-average": Network(
        (1, 8, 8),
        (Layer((3, 3, 3), HARD), Layer(4, Readout())),
        (Conv(1, 3, 3, pool=Average(2)), Dense((3, 3, 3), 4, (1, 2))),
    ),
    "conv-maximum": Network(
        (2, 8, 8),
        (Layer((3, 6, 6), HARD), Layer((3, 2, 2), HARD), Layer(4, Free())),
        (Conv(2, 3, 3), Conv(3, 3, 3, (1, 2), pool=Maximum(2)), Dense((3, 2, 2), 4, (2, 3))),
    ),
    "conv-stride": Network(
        (1, 8, 8),
        (Layer((3, 4, 4), HARD), Layer(4, Free())),
        (Conv(1, 3, 3, stride=2, padding=1), Dense((3, 4, 4), 4, (1, 2))),
    ),
    "conv-average-deep": Network(
        (1, 8, 8),
        (Layer((2, 8, 8), HARD), Layer((3, 2, 2), HARD), Layer(4, Free())),
        (Conv(1, 2, 3, padding=1), Conv(2, 3, 3, (1, 2), stride=2, padding=1, pool=Average(2)),
         Dense((3, 2, 2), 4, (2, 3))),
    ),
    "resistive": resistive(9, 8, 6, 4),
    "resistive-mirror": Network(
        9,
        (Layer(8, diodes()), Layer(4, Free(leak=0.0))),
        (Resistive((9,), 8, mirror=3.0), Resistive((8,), 4, (1, 2))),
    ),
    "resistive-conv": Network(
        (1, 6, 6),
        (Layer((4, 4, 4), diodes(-3)), Layer(4, Free(leak=0.0))),
        (ResistiveConv((1, 6, 6), 4, 3), Resistive((4, 4, 4), 4, (1, 2))),
    ),
    "resistive-conv-deep": Network(
        (1, 6, 6),
        (Layer((4, 5, 5), diodes(-3)), Layer((2, 2, 2), diodes(-3)), Layer(4, Free(leak=0.0))),
        (ResistiveConv((1, 6, 6), 4, 2), ResistiveConv((4, 5, 5), 2, 3, (1, 2), stride=2),
         Resistive((2, 2, 2), 4, (2, 3))),
    ),
    "single-diodes": resistive(9, 8, 4, law=SINGLE),
    "double-diodes": resistive(9, 8, 4, law=DOUBLE),
    "table": resistive(9, 8, 4, law=IV),
    "amplified": Network(
        9,
        (Layer(8, diodes()), Layer(6, SINGLE), Layer(4, Free(leak=0.0))),
        tuple(Amplified(j, 2.0, 0.5 + 0.5 * i) for i, j in enumerate(chain(9, 8, 6, 4))),
    ),
    "feeble": Network(
        9,
        (Layer(8, HARD), Layer(6, HARD), Layer(4, Readout())),
        (Dense((9,), 8), Amplified(Dense((8,), 6, (1, 2)), 1.0, 0.1), Dense((6,), 4, (2, 3))),
    ),
    "amplified-readout": Network(
        9,
        (Layer(8, diodes()), Layer(6, diodes()), Layer(4, Readout())),
        tuple(Amplified(j, 2.0, 0.5 + 0.5 * i) for i, j in enumerate(chain(9, 8, 6, 4))),
    ),
    "conv-amplified": Network(
        (2, 8, 8),
        (Layer((3, 6, 6), HARD), Layer((3, 2, 2), HARD), Layer(4, Readout())),
        (Conv(2, 3, 3), Amplified(Conv(3, 3, 3, (1, 2), pool=Maximum(2)), 2.0, 0.2),
         Amplified(Dense((3, 2, 2), 4, (2, 3)), 1.0, 0.5)),
    ),
    "custom": Network(
        9,
        (Layer(6, Tanh()), Layer(4, Free())),
        (
            Dense((9,), 6),
            Energy(
                lambda s, p: 0.02 * (s[0] ** 4).sum(-1) - (s[1] * (s[0] @ p[0].mT)).sum(-1),
                (1, 2),
                {"w": (4, 6)},
            ),
        ),
    ),
}  # fmt: skip
"""Every energy; those that ``SMOOTH`` does not name are quadratic between their clamps."""

SMOOTH = {
    "tanh",
    "softmax",
    "softmax-amplified",
    "single-diodes",
    "double-diodes",
    "amplified",
    "custom",
}
ANALYTIC = {"tanh", "single-diodes", "double-diodes"}
FLAT = {name for name in ZOO if not name.startswith(("conv", "resistive-conv"))}


def machine_of(name: str, solver: Solver = TIGHT, dtype: torch.dtype = DTYPE) -> Simulated:
    """The ideal machine, with parameters of its own."""
    network = ZOO[name]
    drawn = network.initial(stream(1, name))
    parameters = [[p.to(dtype) for p in mine] for mine in drawn]
    for mine in parameters:
        if len(mine) > 1:  # biases start at zero; here they should matter
            mine[1] += 0.1 * torch.randn(mine[1].shape, generator=stream(2, name), dtype=dtype)
        if len(mine) == 1 and float(mine[0].abs().max()) == 0:
            mine[0] += 0.1 * torch.randn(mine[0].shape, generator=stream(3, name), dtype=dtype)
    return Simulated.ideal(network, parameters, solver)


def batch_of(name: str, samples: int = 5, dtype: torch.dtype = DTYPE) -> tuple[Tensor, Tensor]:
    """Inputs and classes."""
    shape = ZOO[name].state_shapes[0]
    x = torch.randn(samples, *shape, generator=stream(4, name), dtype=DTYPE)
    return x.to(dtype), torch.randint(4, (samples,), generator=stream(5, name))
