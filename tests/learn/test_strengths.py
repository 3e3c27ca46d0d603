"""Strengths of the nudge: what a machine's noise and curvature ask for, against closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from madem.device import SWITCHES, load, without
from madem.errors import InputError
from madem.learn import (
    Contrast,
    Even,
    Measured,
    RelativeMove,
    centred,
    negative,
    positive,
    richardson,
    springs,
)
from madem.learn.estimators import Gradient, Measurement
from madem.learn.strengths import ENOUGH, LADDER, NEAR, best_of, calibrated
from madem.machine import Machine, Observed, Periphery, SignedPair, Simulated, verified
from madem.network import CrossEntropy, Current, Free, Layer, Network, Nudge, SquaredError, Tanh
from madem.randomness import rewind, stream, streams
from madem.solver import Sweep

UNIT = 100e-6


def chips(network: Network, weight: Tensor, noise: float, **around: object) -> Simulated:
    """Chips that hold ``weight``, each of which fluctuates by ``noise``."""
    ideal = without(load("taox-1t1m"), SWITCHES)
    store = SignedPair(
        ideal, weight, UNIT, 20e-6, stream(0, "cells"), stream(0, "writes"), verified
    )
    if noise:
        store.fluctuate(torch.tensor(noise * UNIT / 2**0.5))
    return Simulated(
        network, Sweep(1e-9, 300), [store], Periphery(**around), stream(0, "noise"))  # type: ignore[arg-type] # fmt: skip


def chosen(bend: float, s: float, order: int) -> float:
    """The smallest strength whose error, over a gradient of 1, is near the least, or enough."""
    least = (s**2 / (order * bend**2)) ** (1 / (2 * order + 2)) if bend else math.inf
    shares = torch.logspace(-3, 0, 30_000).double() * min(least, 100 * s)
    errors = (bend**2 * shares ** (2 * order) + s**2 / shares**2).sqrt()
    return float(shares[errors <= max(ENOUGH, NEAR * float(errors.min()))][0])


@pytest.mark.parametrize("make", [positive, centred, richardson])
@pytest.mark.parametrize("c", [0.03, 1.0, 40.0])
@pytest.mark.parametrize("rounds", [False, True])
def test_the_best_strength_of_a_known_curve(
    make: Callable[..., Contrast], c: float, rounds: bool
) -> None:
    """Gradients ``g + b c^p`` and noise ``s / c`` drawn by hand: c^(2p+2) = s^2 / (p b^2).

    A one-sided contrast subtracts the same free phase at every strength: half of its noise. Noise
    is of the machine, or of what is rounded away, as large as what is drawn in its place.
    """
    order, n, chips = make(1.0).order, 3000, 40
    same = 0.5 if make is positive else 0.0
    draws = stream(0, "curve")
    g, b = (torch.randn(chips, n, generator=draws).double() for _ in range(2))
    g, b = (each / each.norm(dim=-1, keepdim=True) for each in (g, b))
    least = 1.1 * c  # where the error is least, and half of it noise
    s = 0.3 * least
    bend = s / (order**0.5 * least ** (order + 1))
    ladder, free = [], torch.randn(chips, n, generator=draws)
    for step in LADDER:
        drawn = same**0.5 * free + (1 - same) ** 0.5 * torch.randn(chips, n, generator=draws)
        noise = s / (step * c) * drawn / n**0.5
        found = [g + bend * b * (step * c) ** order + noise]
        again = rounds * s / (step * c) * torch.randn(chips, n, generator=draws) / n**0.5
        ladder.append((found, [found[0] + again]))
    share, error, _ = best_of(ladder, torch.full((chips,), math.inf), order, same)
    best = 2 * c * share
    asked = 0.2 if rounds else 0.1  # what is left as noise beside rounding is never below none
    assert float(best.log().mean().exp()) == pytest.approx(chosen(bend, s, order), rel=asked)
    assert float(best.log().std()) < 0.2
    left = (bend**2 * best ** (2 * order) + s**2 / best**2) ** 0.5
    assert float((error / left).log().mean().exp()) == pytest.approx(1, rel=asked)


def test_no_strength_is_chosen_that_is_rounded_away() -> None:
    """Of exact gradients the weakest nudge is best that moves states by a step over sqrt 2."""
    g = torch.randn(5, 100, generator=stream(0, "g"))
    share, error, _ = best_of([([g], [g])] * 3, torch.full((5,), 2.01), 2, 0.0)
    assert share.tolist() == pytest.approx([2**-1.5] * 5)
    assert float(error.max()) == 0


def test_orders_are_those_of_the_contrasts() -> None:
    assert [make(1.0).order for make in (positive, negative, centred, richardson)] == [1, 1, 2, 4]
    assert [make(1.0).shared for make in (positive, negative, centred, richardson)] == [
        0.5, 0.5, 0, 0]  # fmt: skip


@pytest.mark.parametrize(("make", "variance"), [(centred, 0.5), (positive, 2.0)])
def test_a_linear_network_is_nudged_until_its_noise_is_small_enough(
    make: Callable[..., Contrast], variance: float
) -> None:
    """Nothing bends: the noise of a batch over its gradient is known, and brought to 0.3.

    ``variance``: that of two settlings over the square of what their strengths differ by.
    """
    network, sigma, batch = Network(30, (Layer(10, Free()),)), 0.05, 16
    machine = chips(network, torch.zeros(200, 10, 31), sigma)
    x = 2 * torch.rand(1, batch, 30, generator=stream(0, "x")).expand(200, batch, 30) - 1
    target = torch.arange(batch).remainder(10).expand(200, batch)
    auto = Measured()
    make(auto)(machine, x, target, CrossEntropy())
    lines = torch.cat([x, torch.ones(200, batch, 1)], -1)

    def exact(output: Tensor) -> Tensor:
        return CrossEntropy().gradient(output, target).mT @ lines / batch

    zero = torch.zeros(200, batch, 10)
    size = CrossEntropy().gradient(zero, target)[0].abs().amax(-1)
    # of one sample and output: sigma |x| in each of two phases, over what they differ by
    each = size * sigma * lines[0].square().sum(-1)
    noise = (10 * each.square().sum() * variance).sqrt() / batch
    wanted = chosen(0.0, float(noise / exact(zero)[0].norm()), 2)
    calls, *amounts = auto.memory.held.tolist()
    assert (calls, len(amounts)) == (1, 200)
    assert math.exp(torch.tensor(amounts).log().mean()) == pytest.approx(wanted, rel=0.1)
    found = make(auto)(machine, x, target, CrossEntropy())
    true = exact(found.free.output)
    error = (found.weights[0] - true).flatten(1).norm(dim=-1) / true.flatten(1).norm(dim=-1)
    assert float(error.median()) == pytest.approx(ENOUGH, rel=0.15)


def test_a_bent_unit_is_nudged_where_bias_and_noise_are_least() -> None:
    """Units of tanh: the third derivative is the bias, fluctuation of the weights the noise."""
    units, many, d, sigma = 400, 20, 1.5, 0.07
    network, x = Network(8, (Layer(units, Tanh()),)), torch.ones(many, 1, 8)
    machine = chips(network, torch.full((many, units, 9), d / 9), sigma)
    gradient, auto = torch.ones(many, 1, units), Measured()

    def nudged(beta: Even | Measured) -> Tensor:
        """Return the gradient under a current of one; nine lines at one lead to a unit."""
        push = lambda beta: Current(beta, gradient)  # noqa: E731
        found = centred(beta).measure(machine, machine.settle(x), push, 1.0)
        return found.weights[0].double()

    for _ in range(3):
        nudged(auto)
        auto.memory.held[0] = 0  # calibrated anew
    y = math.tanh(d)
    slope, third = 1 - y**2, -2 * (1 - y**2) * (1 - 3 * y**2)
    bend, noise = abs(third) / 6 / slope, sigma * 3 / 2**0.5  # over the gradient
    amounts = auto.memory.held[1:]
    assert float(amounts.log().std()) < 0.2
    found, wanted = float(amounts.log().mean().exp()), chosen(bend, noise, 2)
    assert wanted / 1.3 < found < wanted * 1.3
    least = (noise**2 / (2 * bend**2)) ** (1 / 6)
    low, best, high, ours = (
        float((nudged(Even(each)) - slope).square().mean().sqrt() / slope)
        for each in (0.4 * least, least, 2.5 * least, found)
    )
    assert best < min(low, high)
    assert ours < max(ENOUGH, NEAR * best)


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_converters_alone_ask_for_more_than_a_step(bits: int) -> None:
    """Where repeated settlings are equal, what is rounded away is the noise."""
    network, batch = Network(30, (Layer(10, Free()),)), 16
    weight = 0.3 * torch.randn(50, 10, 31, generator=stream(0, "w"))
    machine = chips(network, weight, 0.0, adc_bits=bits, output_limit=8.0)
    x = torch.rand(50, batch, 30, generator=stream(0, "x"))
    target = torch.arange(batch).remainder(10).expand(50, batch)
    auto, step = Measured(), 8.0 / (2 ** (bits - 1) - 1)
    centred(auto)(machine, x, target, CrossEntropy())
    amount = float(auto.memory.held[1:].log().mean().exp())
    assert step < amount < 10 * step
    still = Simulated(network, Sweep(), machine.stores)
    exact = centred(RelativeMove())(still, x, target, CrossEntropy()).weights[0]
    seen = centred(auto)(machine, x, target, CrossEntropy()).weights[0]
    assert float((seen - exact).norm() / exact.norm()) < 2 * ENOUGH


def test_an_exact_machine_takes_the_limit_of_its_numbers_and_says_so() -> None:
    network = Network(3, (Layer(2, Tanh()),))
    machine = Simulated.ideal(network, network.initial(stream(0, "w")))
    x, target = torch.rand(5, 3, generator=stream(0, "x")), torch.arange(5).remainder(2)
    with pytest.warns(UserWarning, match="beta auto: .*relative-move"):
        ours = centred(Measured())(machine, x, target, CrossEntropy()).weights
    theirs = centred(RelativeMove())(machine, x, target, CrossEntropy()).weights
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


class Deaf(Machine):
    """A chip that a nudge does not reach."""

    def __init__(self, noise: float) -> None:
        self.network = Network(30, (Layer(20, Free()),))
        self.noise, self.draws = noise, stream(0, "deaf")

    @property
    def parameters(self) -> list[Tensor]:
        return [torch.zeros(20, 30), torch.zeros(20)]

    def settle(self, x: Tensor, nudge: Nudge | None = None, start: object = None) -> Observed:
        del nudge, start
        out = self.noise * torch.randn(len(x), 20, generator=self.draws)
        converged = torch.ones(len(x)) > 0
        self.count(converged)
        return Observed((x, out), out, converged)

    def write(self, changes: object) -> tuple[None, ...]:
        del changes
        return (None,)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_machine_that_feels_no_nudge_is_told_of(noise: float) -> None:
    x, target = 2 * torch.rand(16, 30, generator=stream(0, "x")) - 1, torch.arange(16)
    with pytest.raises(InputError) as told:
        centred(Measured())(Deaf(noise), x, target, CrossEntropy())
    assert "beta auto: no nudge is seen in the noise. At a largest current of" in str(told.value)
    assert len(str(told.value)) < 300


def test_where_no_gradient_arrives_a_calibration_waits() -> None:
    network = Network(3, (Layer(2, Free()),))
    machine = chips(network, torch.zeros(1, 2, 4), 0.05)
    x, auto = torch.rand(1, 6, 3, generator=stream(0, "x")), Measured()
    estimator = centred(auto)
    free = machine.settle(x)
    push = lambda beta: Current(beta, torch.zeros(1, 6, 2))  # noqa: E731
    found = estimator.measure(machine, free, push, 1.0)
    assert not bool(found.weights[0].any())
    assert not auto.memory.held.numel()


def test_a_chip_at_which_no_gradient_arrives_is_nudged_as_the_others_are() -> None:
    """Of five like chips one has nothing to learn in the first batch, and is not lost for it."""
    network, many = Network(30, (Layer(10, Free()),)), 64
    machine = chips(network, torch.zeros(5, 10, 31), 0.05)
    x = torch.rand(1, many, 30, generator=stream(0, "x")).expand(5, many, 30)
    gradient, auto = torch.randn(5, many, 10, generator=stream(0, "gradient")), Measured()
    still = gradient * (torch.arange(5) != 2)[:, None, None]
    for each in (still, gradient):
        push = lambda beta, each=each: Current(beta, each)  # noqa: E731
        found = centred(auto).measure(machine, machine.settle(x), push, 1.0)
    amounts = auto.memory.held[1:]
    assert float(amounts[2]) == float(amounts[[0, 1, 3, 4]].sort().values[1])
    exact = gradient.mT @ torch.cat([x, torch.ones(5, many, 1)], -1)
    error = (found.weights[0] - exact).flatten(1).norm(dim=-1) / exact.flatten(1).norm(dim=-1)
    assert float(error.max()) < 1.5 * ENOUGH


def test_a_chip_that_sees_no_nudge_does_not_run_away_beside_others() -> None:
    """One of twenty returns noise however it is nudged, in calibration after calibration."""
    draws, true = stream(0, "noise"), torch.randn(20, 400, generator=stream(0, "true"))
    lost = torch.arange(20) == 3
    free = Observed((), torch.zeros(20, 1, 1), torch.ones(20, 1) > 0)

    def at(amount: Tensor) -> Measurement:
        noise = torch.randn(20, 400, generator=draws) / amount.clamp_max(1e9).unsqueeze(-1).float()
        found = torch.where(lost[:, None], 1e3 * torch.randn(20, 400, generator=draws), true)
        weights = (found + noise,)
        return Gradient(weights, free), lambda: (weights, torch.ones(1, 20), torch.zeros(1, 20))

    amount = torch.ones(20).double()
    for _ in range(20):
        _, amount = calibrated(at, amount, torch.ones(20) > 0, 2, 0.0)
    assert amount.tolist() == pytest.approx([chosen(0.0, 1.0, 2)] * 20, rel=0.2)


def test_it_is_calibrated_now_and_then_and_goes_on_where_it_was() -> None:
    network, batch = Network(6, (Layer(3, Free()),)), 8
    x = torch.rand(2, batch, 6, generator=stream(0, "x"))
    target = torch.arange(batch).remainder(3).expand(2, batch)

    def run(steps: int, held: dict[str, Tensor] | None = None) -> tuple[list[int], Measured]:
        machine, auto = chips(network, torch.zeros(2, 3, 7), 0.05), Measured(every=5)
        if held is not None:
            rewind(held, centred(auto))
        counts = []
        for _ in range(steps):
            before = machine.settled
            centred(auto)(machine, x, target, CrossEntropy())
            counts.append((machine.settled - before) // (2 * batch))
        return counts, auto

    counts, auto = run(7)
    assert counts == [7, 3, 3, 3, 3, 7, 3]
    again, other = run(1, streams(centred(auto)))
    assert again == [3]
    assert other.memory.held[0] == 8
    assert torch.equal(other.memory.held[1:], auto.memory.held[1:])


def test_an_even_nudge_is_as_strong_for_every_sample() -> None:
    """Small gradients are nudged as far as large ones, and exact machines do not mind."""
    network = Network(3, (Layer(2, Tanh()),))
    drawn = [[p.double() for p in mine] for mine in network.initial(stream(0, "w"))]
    machine = Simulated.ideal(network, drawn)
    x, target = torch.rand(5, 3, generator=stream(0, "x")).double(), torch.arange(5).remainder(2)
    ours = centred(Even(1e-6))(machine, x, target, CrossEntropy()).weights
    theirs = centred(RelativeMove())(machine, x, target, CrossEntropy()).weights
    assert all(torch.allclose(a, b, rtol=1e-8) for a, b in zip(ours, theirs, strict=True))


def test_what_cannot_be_measured_is_refused() -> None:
    network = Network(3, (Layer(2, Free()),))
    machine = chips(network, torch.zeros(1, 2, 4), 0.05)
    x, target = torch.rand(1, 6, 3), torch.zeros(1, 6, dtype=torch.long)
    with pytest.raises(InputError, match="of a current, not of other nudges"):
        centred(Measured(), springs)(machine, x, target, SquaredError())
    with pytest.raises(InputError, match="every must be at least 1, but is 0"):
        Measured(0)
    with pytest.raises(InputError, match="amount must be positive, but is 0"):
        Even(0.0)
