"""Settling times of chips: against closed forms and against whole circuits in time."""

from __future__ import annotations

import math

import pytest
import torch

from madem.circuit import Timing, hopfield, pairs, transient
from madem.errors import InputError
from madem.ledger import load_prices
from madem.machine import Simulated
from madem.network import Box, Current, Free, Layer, Network
from madem.randomness import stream
from madem.solver import Sweep
from madem.training.settling import ITEMS, follow, prices_of, settled_within, settling
from tests.conftest import small_config
from tests.zoo import DTYPE, batch_of, machine_of

TAU = 1e-9


def test_one_pole_settles_as_a_logarithm() -> None:
    weights = [torch.tensor([[2.0], [0.5]], dtype=DTYPE), torch.zeros(2, dtype=DTYPE)]
    machine = Simulated.ideal(Network(1, (Layer(2, Free()),)), [weights])
    x = torch.tensor([[1.0], [-3.0], [0.001]], dtype=DTYPE)
    problem = machine.network.bind(machine.couple(machine.parameters), x)
    found = follow(problem, None, problem.zeros, [0.01])
    wanted = [math.log(2 / 0.01), math.log(6 / 0.01), 0.0]  # the larger output decides
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=DTYPE))


@pytest.mark.parametrize("name", ["hopfield", "pair", "readout"])
@pytest.mark.parametrize(("beta", "rested"), [(0.0, True), (0.3, True), (-0.3, True), (0.3, False)])
def test_the_whole_circuit_takes_as_long(name: str, beta: float, rested: bool) -> None:
    """Free and nudged from rest, and nudged from the free state."""
    machine, (x, _) = machine_of(name), batch_of(name, 3)
    network, p = machine.network, machine.parameters
    problem = network.bind(machine.couple(p), x)
    free = machine.settle(x).rest.states
    gradient = torch.linspace(-0.5, 0.5, 4, dtype=torch.float64).expand(3, 4)
    nudge = Current(beta, gradient) if beta else None
    read = name == "readout"
    limits = [1e-3] * len(network.layers)
    if read:
        limits[-1] = math.inf
    ours = follow(problem, nudge, problem.zeros if rested else free, limits,
                  1e-3 if read and not nudge else None)  # fmt: skip
    bars = [pairs(1e-4 * w, 1e-4 * b) for w, b in zip(p[::2], p[1::2], strict=True)]
    timing, units = Timing(tau=TAU), [1e-4] * len(bars)
    for k in range(3):
        push = Current(beta, gradient[k : k + 1]) if beta else None
        start = None
        if not rested:
            start = transient(hopfield(network, bars, x[k], None, None, timing, units).circuit)
        built = hopfield(network, bars, x[k], push, None, timing, units)
        record = transient(built.circuit, start.rest.voltages if start else None)
        layers = built.layers[:-1] if read and push else built.layers
        theirs = record.settling([n for layer in layers for n in layer], 1e-3)
        assert float(ours[k]) * TAU == pytest.approx(theirs, rel=0.01)


def test_what_does_not_settle_is_reported() -> None:
    network = Network(1, (Layer(1, Box(-1.0, 1.0)), Layer(1, Free())))
    parameters = [[torch.ones(1, 1), torch.zeros(1)], [torch.full((1, 1), 0.9999), torch.zeros(1)]]
    machine = Simulated.ideal(network, parameters)
    problem = network.bind(machine.couple(machine.parameters), torch.tensor([[1e-4]]))
    with pytest.raises(InputError, match="1 of 1 samples had not settled"):
        follow(problem, None, problem.zeros, [1e-4, 1e-4])


def test_chips_and_what_their_prices_become() -> None:
    config = small_config("machine.neuron_tau=2 ns")
    one = config.plan("classify.two_layer")
    machine = one.making.assemble(one)
    found = settling(one, machine, samples=20)
    assert found["free"].shape == (2, 20)
    assert found["nudged"].shape == (2, 40)
    again = settling(one, machine, samples=20)
    assert all(torch.equal(found[phase], again[phase]) for phase in found)
    half = small_config("machine.neuron_tau=1 ns").plan("classify.two_layer")
    for phase, times in settling(half, machine, samples=20).items():
        torch.testing.assert_close(2 * times, found[phase], rtol=1e-9, atol=0)
    both = found["nudged"].reshape(2, 2, 20)  # every word twice, for either sign, from rest
    assert float((both / found["free"][:, None]).min()) > 0.3
    times = settled_within(found)
    assert 2e-9 < times["nudged"] < 50e-9
    prices = prices_of(one, load_prices(), times)
    for phase, items in ITEMS.items():
        for item in items:
            assert prices[item].duration == times[phase]
            assert f"{1e9 * times[phase]:.3g} ns" in prices[item].assumption
            assert "one pole of 2 ns" in prices[item].assumption
        assert prices[items[0]].seconds == times[phase]


@pytest.mark.parametrize("text", ["0 ns", "-1 ns", "1", "1 pF"])
def test_a_pole_that_is_none(text: str) -> None:
    with pytest.raises(InputError, match=r"machine\.neuron_tau"):
        small_config(f"machine.neuron_tau={text}")


def test_phases_settle_to_half_a_step_of_their_converters() -> None:
    """Outputs alone rise as one pole: ``tau ln(|y| / (step / 2))`` of the largest, or at once."""
    plan = small_config("machine.adc_bits=6").plan("classify.one_layer")
    machine = plan.making.assemble(plan, [[torch.randn(2, 4, 12, generator=stream(0, "w")),
                                           torch.zeros(2, 4)]])  # fmt: skip
    assert isinstance(machine, Simulated)
    x = plan.held("validation")[0][:20]
    problem = plan.network.bind(machine.couple(machine.parameters), machine.periphery.drive(x))
    size = problem.output(Sweep().settle(problem).states).abs().amax(-1).double()
    half = machine.periphery.output_limit / (2**5 - 1) / 2
    found = settling(plan, machine, samples=20)["free"]
    torch.testing.assert_close(
        found, 1e-9 * (size / half).log().clamp_min(0), rtol=1e-4, atol=1e-15
    )
    assert float(found.min()) > 0
