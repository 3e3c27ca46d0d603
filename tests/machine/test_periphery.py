"""Periphery: each imperfection does what it says, and what keeps an energy is exact."""

from __future__ import annotations

import pytest
import torch

from madem.errors import InputError
from madem.learn import Implicit, centred, compare
from madem.machine import Exact, Lopsided, Periphery, Simulated, Spread, draw_lines
from madem.network import Box, CrossEntropy, Free, Layer, Network, Readout
from madem.randomness import stream
from madem.solver import Sweep

CHIPS = 3
DEEP = Network(4, (Layer(5, Box()), Layer(3, Free())))
SENSED = Network(4, (Layer(5, Box()), Layer(3, Readout())))


def machine(
    network: Network, spread: Spread, scale: float = 0.2, bits: int | None = None
) -> Simulated:
    stores = [
        Exact(joint, [
            scale * torch.randn(CHIPS, *shape, generator=stream(0, "w", index, name)).double()
            for name, shape in joint.parameters.items()
        ])
        for index, joint in enumerate(network.joints)
    ]  # fmt: skip
    lines = tuple(
        _double(draw_lines(spread, (CHIPS, *shape), stream(0, "lines", index)))
        for index, shape in enumerate(network.shapes)
    )
    return Simulated(network, Sweep(1e-12, 500), stores, Periphery(lines=lines))


def _double(lines: object) -> object:
    return type(lines)(*(p if p is None else p.double() for p in vars(lines).values()))


X = torch.rand(CHIPS, 6, 4, generator=stream(0, "x")).double()
T = torch.arange(6).remainder(3).expand(CHIPS, 6)


@pytest.mark.parametrize("network", [DEEP, SENSED])
@pytest.mark.parametrize(
    "spread",
    [Spread(line_gain=0.2), Spread(neuron_offset=0.1), Spread(drive_offset=0.1),
     Spread(line_gain=0.1, neuron_offset=0.1)],
)  # fmt: skip
def test_what_keeps_an_energy_keeps_the_gradient(network: Network, spread: Spread) -> None:
    """Differences measured on such chips point along the exact gradient by the seen weights.

    With gains of the lines, that by the cells is it times the gains: each of one sign.
    """
    chip = machine(network, spread)
    measured = centred(1e-4)(chip, X, T, CrossEntropy()).weights
    exact = Implicit()(chip, X, T, CrossEntropy()).weights
    for index, (ours, theirs) in enumerate(zip(measured, exact, strict=True)):
        line = chip.periphery.lines[index // 2]
        if line.post is not None and line.pre is not None:
            gains = line.post if index % 2 else line.post[..., None] * line.pre[..., None, :-1]
            theirs = theirs / (gains * line.pre[..., -1:] if index % 2 else gains)  # noqa: PLW2901
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-9)


def test_mismatch_breaks_the_gradient_of_the_lower_layer() -> None:
    estimators = centred(1e-4), Implicit()
    good, bad = (
        compare(machine(SENSED, spread), X, T, CrossEntropy(), estimators)
        for spread in (Spread(), Spread(mismatch=1.0))
    )
    assert min(row.cosine for row in good) > 1 - 1e-6
    lower = [row.cosine for row in bad if row.name.startswith("1.")]
    upper = [row.cosine for row in bad if row.name.startswith("2.")]
    assert max(lower) < 0.99  # what the transposed read returns is not W^T
    assert min(upper) > 1 - 1e-6  # what is local to the outputs does not need it


def test_without_an_energy_what_does_not_settle_is_counted() -> None:
    """Strong couplings that pull one way forwards and the other way back go round for ever."""
    chip = machine(DEEP, Spread(), scale=2.0)
    back = tuple(
        type(line)(back=torch.full((CHIPS, *weight.shape[-2:]), -1.0).double())
        for line, weight in zip(chip.periphery.lines, chip.parameters[::2], strict=True)
    )
    chip.periphery = Periphery(lines=back)
    settled = chip.settle(X)
    missed = int((~settled.rest.converged).sum())
    assert missed > 0
    assert chip.unsettled == missed


def test_mismatch_is_felt_in_the_transposed_read_alone() -> None:
    plain, odd = machine(SENSED, Spread()), machine(SENSED, Spread(mismatch=0.5))
    torch.testing.assert_close(plain.settle(X).output, odd.settle(X).output)
    lopsided = odd.couple(odd.parameters)[1]
    assert isinstance(lopsided, Lopsided)
    delta = lopsided.back.weight / lopsided.coupling.weight - 1
    assert 0.2 < float(delta.std()) < 0.8


def test_sense_offsets_are_seen_and_not_felt() -> None:
    plain, odd = machine(DEEP, Spread()), machine(DEEP, Spread(sense_offset=0.1))
    free, seen = plain.settle(X), odd.settle(X)
    torch.testing.assert_close(free.rest.states[0], seen.rest.states[0])
    offset = seen.states[1] - free.states[1]
    torch.testing.assert_close(offset, offset[:, :1].expand_as(offset))
    assert float(offset.std()) > 0.01
    assert not odd.exact


def test_neuron_gain_scales_forward_and_back() -> None:
    odd = machine(DEEP, Spread(neuron_gain=0.2))
    gain = odd.periphery.lines[0].neuron
    first, second = odd.couple(odd.parameters)
    weights = [w for w in odd.parameters if w.dim() == 3]
    ahead = first.pull(1, [X, torch.zeros(CHIPS, 6, 5).double()])
    torch.testing.assert_close(ahead, gain[:, None] * (X @ weights[0].mT))
    top = torch.ones(CHIPS, 6, 3).double()
    back = second.pull(0, [torch.zeros(CHIPS, 6, 5).double(), top])
    torch.testing.assert_close(back, gain[:, None] * (top @ weights[1]))


def test_a_chip_keeps_its_draw_as_it_gets_worse() -> None:
    mild, bad = (draw_lines(Spread(mismatch=s), (2, 3, 5), stream(0, "l")) for s in (0.1, 0.2))
    torch.testing.assert_close(2 * (mild.back - 1), bad.back - 1)
    other = draw_lines(Spread(mismatch=0.1), (2, 3, 5), stream(0, "m"))
    assert not bool((mild.back == other.back).any())


def test_ideal_is_bit_for_bit_ideal() -> None:
    plain = machine(DEEP, Spread())
    bare = Simulated(DEEP, plain.solver, plain.stores)
    assert bool((plain.settle(X).output == bare.settle(X).output).all())


def test_what_no_periphery_can_be() -> None:
    with pytest.raises(InputError, match="mismatch must be zero or positive, but is -1"):
        Spread(mismatch=-1.0)
