"""A sampled contrast: what is converted, what stays behind, what it adds, and what it costs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from madem.device import SWITCHES, load, without
from madem.errors import InputError
from madem.learn import centred, compare, positive
from madem.ledger import Ledger, load_prices
from madem.machine import (
    Converter,
    Exact,
    Periphery,
    SignedPair,
    Simulated,
    Spread,
    draw_lines,
    verified,
)
from madem.machine.base import silent
from madem.machine.periphery import HALVINGS, ranged
from madem.machine.sampling import RAILS, sampling_noise
from madem.network import Box, CrossEntropy, Current, Free, Layer, Network, Readout
from madem.randomness import stream
from madem.solver import Sweep

CHIPS = 2
DEEP = Network(4, (Layer(6, Box()), Layer(5, Box()), Layer(3, Free())))
SENSED = Network(4, (Layer(6, Box()), Layer(3, Readout())))
X = 2 * torch.rand(CHIPS, 40, 4, generator=stream(0, "x")) - 1
TARGET = torch.arange(40).remainder(3).expand(CHIPS, 40)


def machine(network: Network, spread: Spread | None = None, **around: Any) -> Simulated:
    stores = [
        Exact(joint, [0.4 * torch.randn(CHIPS, *shape, generator=stream(0, "w", index, name))
                      for name, shape in joint.parameters.items()])
        for index, joint in enumerate(network.joints)
    ]  # fmt: skip
    lines = () if spread is None else tuple(
        draw_lines(spread, (CHIPS, *shape), stream(0, "lines", index))
        for index, shape in enumerate(network.shapes)
    )  # fmt: skip
    listener = around.pop("listener", silent)
    around = {"output_limit": 4.0, **around}
    return Simulated(network, Sweep(1e-7, 300), stores, Periphery(**around, lines=lines),
                     stream(0, "noise"), listener)  # fmt: skip


def cosine(ours: tuple[torch.Tensor, ...], theirs: tuple[torch.Tensor, ...]) -> float:
    a, b = (torch.cat([part.flatten() for part in each]) for each in (ours, theirs))
    return float(torch.cosine_similarity(a, b, 0))


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_a_range_of_its_own_is_the_halved_one_that_holds_a_sample(bits: int) -> None:
    values = torch.randn(200, 7, generator=stream(0, "v")) * torch.logspace(-3, 1, 200)[:, None]
    most = values.abs().amax(-1, keepdim=True)
    limit = 8.0 * 0.5 ** (math.log2(8.0) - most.log2()).floor().clamp(0, HALVINGS)
    step = limit / (2 ** (bits - 1) - 1)
    seen = ranged(Converter(bits, 8.0), values, 1)
    inside = most <= 8.0
    assert bool(((seen - values).abs() <= 0.5001 * step).logical_or(~inside).all())
    assert torch.allclose((seen / step).round() * step, seen, rtol=1e-6)
    assert bool((most > 0.499 * limit).logical_or(limit <= 8.0 * 0.5**HALVINGS).all())
    assert not bool(ranged(Converter(bits, 8.0), torch.zeros(3, 2), 1).any())


@pytest.mark.parametrize("network", [DEEP, SENSED])
def test_feeble_nudges_are_seen_where_they_are_sampled(network: Network) -> None:
    """At 3 bits a nudge of a twentieth hardly moves a state by a step; sampled, it is seen."""
    feeble, around = centred(0.05), {"output_range": "measured", "contrast": "sampled"}
    exact = feeble(machine(network), X, TARGET, CrossEntropy()).weights
    for bits, least in ((3, 0.98), (12, 0.9999)):
        sampled = machine(network, adc_bits=bits, **around)
        assert cosine(feeble(sampled, X, TARGET, CrossEntropy()).weights, exact) > least
    lost = feeble(machine(network, adc_bits=3), X, TARGET, CrossEntropy()).weights
    assert cosine(lost, exact) < 0.9


def test_offsets_of_sense_amplifiers_stay_behind() -> None:
    """Displacements are those of ideal amplifiers to the last bit; converted states are not."""
    shown = []
    for spread in (None, Spread(sense_offset=0.3)):
        each = machine(DEEP, spread, adc_bits=6, contrast="sampled")
        free = each.settle(X)
        assert free.origin is None
        moved = each.settle(X, Current(0.5, torch.ones(CHIPS, 40, 3)), free)
        assert moved.origin is not None
        shown.append(moved.states)
    for ours, theirs in zip(*shown, strict=True):
        assert torch.equal(ours, theirs)


def test_noise_of_the_capacitors_is_that_of_k_t_over_c() -> None:
    """Held once for both nudges, so that it cancels in their difference: 2 and 5, not 3 and 4."""
    network = Network(1, (Layer(2000, Free()),))
    joint, sd = network.joints[0], 0.01
    store = Exact(joint, [torch.zeros(1, *shape) for shape in joint.parameters.values()])
    around = Periphery(adc_bits=24, output_limit=1.0, contrast="sampled", hold_noise=sd)
    each = Simulated(network, Sweep(), [store], around, stream(0, "noise"))
    free = each.settle(torch.zeros(1, 20, 1))
    nothing = Current(1.0, torch.zeros(1, 20, 2000))
    up, down = (phase.states[-1].double() for phase in each.settle_each(free, [nothing] * 2))
    error = (2 / up.numel()) ** 0.5
    assert float(up.var()) == pytest.approx(3 * sd**2, rel=5 * error)
    assert float((up - down).var()) == pytest.approx(4 * sd**2, rel=5 * error)
    assert float((up * down).mean()) == pytest.approx(sd**2, rel=12 * error)
    assert sampling_noise(1e-12) == pytest.approx(math.sqrt(1.380649e-23 * 300 / 1e-12))


def test_gradients_by_the_input_are_sampled_too() -> None:
    ones = torch.ones(CHIPS, 40, 3)
    for one_sided in (False, True):
        found = []
        for around in ({}, {"adc_bits": 6, "contrast": "sampled"}, {"adc_bits": 6}):
            each = machine(DEEP, **around)
            free = each.settle(X)
            up, down = each.settle_each(free, [Current(b, ones) for b in (0.02, -0.02)])
            sides = (up, free) if one_sided else (up, down)
            found.append(each.reaction(*sides))
            assert torch.equal(found[-1], each.reaction(*sides))  # what was seen stays seen
        assert cosine((found[1],), (found[0],)) > 0.999
        assert cosine((found[2],), (found[0],)) < 0.9


def test_noise_of_the_capacitors_of_the_input_is_independent_of_what_is_held() -> None:
    """On a chip on which nothing else is drawn: 3 for one nudge, 4 for the difference of two."""
    network, sd = Network(400, (Layer(4, Free()),)), 0.01
    joint = network.joints[0]
    store = Exact(joint, [torch.zeros(shape) for shape in joint.parameters.values()])
    around = Periphery(adc_bits=24, output_limit=1.0, contrast="sampled", hold_noise=sd)
    each = Simulated(network, Sweep(), [store], around, stream(0, "noise"))
    free = each.settle(torch.zeros(50, 400))
    up, down = each.settle_each(free, [Current(1.0, torch.zeros(50, 4))] * 2)
    error = (2 / (50 * 400)) ** 0.5
    for sides, wanted in (((up, free), 3), ((down, free), 3), ((up, down), 4)):
        found = float(each.reaction(*sides).double().var())
        assert found == pytest.approx(wanted * sd**2, rel=5 * error)


def test_a_quiet_chip_draws_every_rounding_anew() -> None:
    """A nudge between two levels is driven at either, in the mean as asked; others at others."""
    network = Network(3, (Layer(40, Free()),))
    store = Exact(network.joints[0], [torch.zeros(40, 3), torch.zeros(40)])
    around = Periphery(dac_bits=3, rounding="random")
    each = Simulated(network, Sweep(), [store], around, stream(0, "noise"))
    x, push = torch.zeros(5, 3), Current(1.0, torch.full((5, 40), 0.1))
    driven = torch.stack([-each.settle(x, push, each.settle(x)).states[-1] for _ in range(100)])
    low, high = float(driven.min()), float(driven.max())
    sd = ((0.1 - low) * (high - 0.1)) ** 0.5
    assert bool((driven.std(0) > 0.5 * sd).all())
    assert float(driven.mean()) == pytest.approx(0.1, abs=5 * sd / driven.numel() ** 0.5)


def test_one_sided_and_mixed_contrasts_of_samples() -> None:
    sampled = machine(SENSED, adc_bits=12, output_range="measured", contrast="sampled")
    for make in (positive, centred):
        rows = compare(machine(SENSED), X, TARGET, CrossEntropy(), (make(0.1), make(0.1)))
        assert max(row.relative_error for row in rows) == 0
        exact = make(0.1)(machine(SENSED), X, TARGET, CrossEntropy()).weights
        assert cosine(make(0.1)(sampled, X, TARGET, CrossEntropy()).weights, exact) > 0.9999


def test_what_a_sampled_contrast_takes_is_counted() -> None:
    ledger = Ledger()
    around = {"adc_bits": 8, "output_range": "measured", "contrast": "sampled"}
    each = machine(SENSED, listener=ledger, **around)
    free = each.settle(X)
    own = ("difference hold", "difference amplifier", "range setting")
    counts = {item: count for item, (count, _) in ledger.mean().items()}
    assert [counts.get(item) for item in own] == [40 * 6, None, 40]  # 6 held, the outputs' range
    ledger.totals.clear()
    each.settle(X, Current(0.1, torch.ones(CHIPS, 40, 3)), free)
    counts = {item: count for item, (count, _) in ledger.mean().items()}
    assert [counts.get(item) for item in own] == [None, 40 * 6, 40]  # one hidden layer's range
    assert {row["item"] for row in ledger.rows(load_prices())} >= {*own[1:]}


def test_a_line_is_driven_to_its_rail_and_no_further() -> None:
    """A nudge beyond is what one at the rail is, and its driver gives power rather than takes it.

    From a rail at 4.5 times the read voltage a driver takes ``4.5 g |v|`` and leaves ``g v^2`` in
    the cells: at the rail, nothing of it stays in the driver.
    """
    assert load_prices()["nudged line drive"].watts == RAILS
    ledger, cell = Ledger(), without(load("taox-1t1m"), SWITCHES)
    stores = [
        SignedPair(cell, torch.zeros(1, *shape), 1e-4, 20e-6, stream(0, "c"), stream(0, "w"),
                   verified)
        for shape in SENSED.shapes
    ]  # fmt: skip
    each = Simulated(SENSED, Sweep(1e-7, 300), stores, Periphery(adc_bits=8), listener=ledger)
    free = each.settle(torch.zeros(1, 1, 4))
    push = torch.tensor([[[3.0, -30.0, 4.6]]])
    far, spent = [], []
    for beta, gradient in ((1.0, push), (torch.full((1, 1, 1), 1e3), push)):
        ledger.totals.clear()
        far.append(each.settle(free.states[0], Current(beta, gradient), free).states[-1])
        rows = {row["item"]: row for row in ledger.rows(load_prices())}
        spent.append(rows["nudged line drive"]["watts"])
    torch.testing.assert_close(far[0], torch.tensor([[[-3.0, RAILS, -RAILS]]]))
    torch.testing.assert_close(far[1], RAILS * torch.tensor([[[-1.0, 1.0, -1.0]]]))
    driven = stores[1].line_sums[1][0] * cell.read_voltage**2  # watts of a line at one
    bias = float(stores[0].line_sums[0][0, -1]) * cell.read_voltage**2 * (RAILS - 1)
    inside = float(driven[0]) * 3 * (RAILS - 3)
    assert spent == pytest.approx([bias + inside, bias], rel=1e-5)


def test_what_would_do_nothing_is_refused_in_a_line() -> None:
    for wrong in ({"contrast": "sampled"}, {"output_range": "measured"}):
        with pytest.raises(InputError, match="does nothing where states are read exactly"):
            Periphery(**wrong)
    with pytest.raises(InputError, match="hold_noise must be zero or positive, but is -1"):
        Periphery(adc_bits=4, contrast="sampled", hold_noise=-1.0)
    each = machine(SENSED, adc_bits=4, contrast="sampled")
    with pytest.raises(InputError, match="settle freely first, and start from that"):
        each.settle(X, Current(0.1, torch.ones(CHIPS, 40, 3)))
    with pytest.raises(InputError, match="settle freely first"):
        each.settle(X, Current(0.1, torch.ones(CHIPS, 40, 3)), [torch.zeros(CHIPS, 40, 6)] * 2)
    assert replace(each.periphery, contrast="converted").sampled is False
