"""Noisy and uneven arrays beside any other joint, against cells that are drawn one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from madem.device import load
from madem.errors import InputError
from madem.learn import centred, positive
from madem.machine import (
    Converter,
    Exact,
    Lines,
    Partial,
    Periphery,
    SignedPair,
    Simulated,
    Spread,
    draw_lines,
)
from madem.machine.writing import verified
from madem.network import (
    Amplified,
    Average,
    Box,
    Conv,
    Coupling,
    CrossEntropy,
    Current,
    Dense,
    Energy,
    Free,
    Joint,
    Layer,
    Matrix,
    Network,
    Readout,
    Recurrent,
    Resistive,
    Skip,
)
from madem.network.couplings import Offset, flat
from madem.randomness import stream
from madem.solver import Sweep

SIGMA = 0.03
DRAWS = 2000
SOLVER = Sweep(1e-7, 300)


class Noisy(Exact):
    """Weights that fluctuate, whatever holds them."""

    fluctuation = SIGMA


@dataclass(frozen=True)
class Slow:
    """An array whose every cell was drawn for each sample, ``ahead`` and ``back`` for each read."""

    ahead: Tensor
    back: Tensor
    bias: Tensor | None
    line: Lines
    below: Tensor | None
    shape: tuple[int, ...] = ()
    rows: int = 1
    columns: int = 1
    converter: Converter = Converter(None, 1.0)

    def _gain(self, name: str, size: int) -> Tensor:
        found = getattr(self.line, name)
        return torch.ones(size, dtype=torch.float64) if found is None else found[..., :size]

    def felt(self, end: int) -> tuple[int, ...]:
        return (1 - end,)

    def pull(self, end: int, states: Sequence[Tensor]) -> Tensor:
        post, pre = self.ahead.shape[-2:]
        up, down = self._gain("post", post), self._gain("pre", pre)
        if end == 1:
            cells, driven, count = self.ahead, flat(states[0], self.shape) * down, self.rows
        else:
            seen = 1.0 if self.line.back is None else self.line.back
            cells, driven, count = (self.back * seen).mT, states[1] * up, self.columns
        size = -(-driven.shape[-1] // count)
        total = torch.zeros(())
        for first in range(0, driven.shape[-1], size):
            part = slice(first, first + size)
            current = (cells[..., part] @ driven[..., part, None])[..., 0]
            total = total + self.converter((up if end == 1 else down) * current)
        if end == 1:
            return total * self._gain("neuron", post)
        total = total if self.below is None else total * self.below
        return total.unflatten(-1, self.shape) if self.shape else total

    def constant(self, end: int) -> Tensor | None:
        if end == 0:
            return None
        post = self.ahead.shape[-2]
        found = torch.zeros(post, dtype=torch.float64)
        if self.bias is not None:
            last = 1.0 if self.line.pre is None else self.line.pre[..., -1:]
            found = self.bias * self._gain("post", post) * last * self._gain("neuron", post)
        return found + (0.0 if self.line.offset is None else self.line.offset)

    def curvature(self, end: int) -> float:
        del end
        return 0.0

    def energy(self, states: Sequence[Tensor]) -> Tensor:
        raise NotImplementedError

    def contrast(self, moves: object) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def displaced(self, at: Sequence[Tensor]) -> Offset:
        return Offset(self, tuple(at))


def layers(*units: int | tuple[int, ...]) -> tuple[Layer, ...]:
    return (*(Layer(n, Box(-1.0, 1.0)) for n in units[:-1]), Layer(units[-1], Free()))


DENSE = (Dense((6,), 5), Dense((5,), 5, (1, 2)))
NETWORKS: dict[str, Network] = {
    "alone": Network(6, layers(5, 5), DENSE),
    "readout": Network(6, (Layer(5, Box()), Layer(5, Readout())), DENSE),
    "skip": Network(6, layers(5, 5), (*DENSE, Skip((1, 2), 0.3))),
    "recurrent": Network(6, layers(5, 5), (Recurrent(5, 1), *DENSE)),
    "own energy": Network(
        6, layers(5, 5),
        (*DENSE, Energy(lambda s, _: 0.1 * (s[0] ** 4).sum(-1) - 0.1 * (s[0] * s[1]).sum(-1),
                        (1, 2), {})),
    ),
    "no bias": Network(6, layers(5, 5), (Dense((6,), 5, bias=False), DENSE[1])),
    "amplified": Network(
        6, layers(5, 5),
        (Amplified(DENSE[0], 2.0, 1.0), Amplified(DENSE[1], 0.5, 0.25)),
    ),
    "resistors": Network(6, layers(5, 5), (DENSE[0], Resistive((5,), 5, (1, 2)))),
    "two into one": Network(6, layers(5, 5), (*DENSE, Dense((6,), 5, (0, 2), bias=False))),
    "image": Network((1, 2, 3), layers(5, 5), (Dense((1, 2, 3), 5), DENSE[1])),
    "convolution": Network(
        (1, 5, 5), layers((2, 2, 2), 5),
        (Conv(1, 2, 2, pool=Average(2)), Dense((2, 2, 2), 5, (1, 2))),
    ),
}  # fmt: skip


def is_array(joint: Joint) -> bool:
    return isinstance(joint, Dense) or (isinstance(joint, Amplified) and is_array(joint.joint))


def parameters_of(network: Network) -> list[list[Tensor]]:
    drawn = []
    for i, joint in enumerate(network.joints):
        shapes = joint.parameters.items()
        low = 0.2 if isinstance(joint, Resistive) else 0.0
        drawn.append([
            (low + 0.15 * torch.randn(shape, generator=stream(0, "p", i, name)).abs()
             if low else 0.15 * torch.randn(shape, generator=stream(0, "p", i, name))).double()
            for name, shape in shapes
        ])  # fmt: skip
    return drawn


def input_of(network: Network) -> Tensor:
    shape = network.state_shapes[0]
    return torch.rand(1, *shape, generator=stream(0, "x")).double()


def uneven(network: Network, spread: Spread) -> tuple[Lines, ...]:
    """Lines of every array, ideal ones of other joints."""
    made = []
    for i, joint in enumerate(network.joints):
        inner = joint.joint if isinstance(joint, Amplified) else joint
        if not isinstance(inner, Dense):
            made.append(Lines())
            continue
        wires = torch.Size(inner.pre).numel() + inner.bias
        drawn = draw_lines(spread, (inner.post, wires), stream(0, "l", i), inner.bias)
        made.append(Lines(*(None if p is None else p.double() for p in vars(drawn).values())))
    return tuple(made)


def cell_by_cell(
    network: Network, periphery: Periphery, nudge: Current | None, same: bool = False
) -> list[Tensor]:
    """States of ``DRAWS`` samples, each with cells of its own, the ``same`` ones in both reads."""
    x, ends = input_of(network), [joint.ends for joint in network.joints]
    couplings = [
        network.shared(i, _cells(network, periphery, i, same)) for i in range(len(network.joints))
    ]
    put = periphery.put(x, ends, network.state_shapes[0])
    problem = network.bind(couplings, put.expand(DRAWS, *put.shape[1:]).clone())
    with torch.no_grad():
        rest = SOLVER.settle(replace(problem, drawn=True), nudge)
        out = problem.output(rest.states) if nudge is None else rest.states[-1]
    return [*rest.states[:-1], out]


def _cells(network: Network, periphery: Periphery, i: int, same: bool) -> Coupling:
    joint, mine = network.joints[i], parameters_of(network)[i]
    if not is_array(joint):
        return joint.couple(mine)
    ahead, back = (
        mine[0] + SIGMA * torch.randn(DRAWS, *mine[0].shape, generator=stream(0, "cells", i, k))
        for k in ("ahead", "ahead" if same else "back")
    )
    bias = None
    if len(mine) > 1:
        bias = mine[1] + SIGMA * torch.randn(DRAWS, len(mine[1]), generator=stream(0, "bias", i))
    ends, lower = [j.ends for j in network.joints], joint.ends[0]
    below = periphery.neurons(ends, lower).neuron if lower else None
    shape = network.state_shapes[lower]
    part = periphery.partial[i] if periphery.partial else None
    tiles = () if part is None else (
        part.rows, part.columns, Converter(periphery.adc_bits, part.limit))  # fmt: skip
    slow = Slow(ahead, back, bias, periphery.line(i), below, shape if len(shape) > 1 else (),
                *tiles)  # fmt: skip
    if not isinstance(joint, Amplified):
        return slow
    wrapped = joint.couple(mine)
    return type(wrapped)(slow, wrapped.gain, wrapped.share)


def machine_of(network: Network, periphery: Periphery | None = None) -> Simulated:
    stores = [
        (Noisy if is_array(joint) else Exact)(joint, mine)
        for joint, mine in zip(network.joints, parameters_of(network), strict=True)
    ]
    return Simulated(network, SOLVER, stores, periphery, stream(0, "noise"))


GAINS = Spread(line_gain=0.2)
ALL = Spread(line_gain=0.2, neuron_gain=0.2, neuron_offset=0.1, drive_offset=0.1, mismatch=0.3,
             line_mismatch=0.1)  # fmt: skip


def periphery_of(network: Network, name: str) -> Periphery:
    if name == "read noise":
        return Periphery()
    if name == "tiles":
        partial = tuple(Partial(2, 2, 4.0) if is_array(joint) else None for joint in network.joints)
        return Periphery(adc_bits=9, output_limit=4.0, partial=partial)
    spread = {"line gains": GAINS, "all lines": ALL}[name]
    return Periphery(lines=uneven(network, spread))


CASES = [(network, name) for network in NETWORKS for name in ("read noise", "line gains", "tiles")]
CASES += [(name, "all lines") for name in ("alone", "readout", "image", "no bias", "amplified")]


def compare(name: str, imperfect: str, nudged: bool, same: bool = False) -> None:
    """Mean and spread of every unit, over ``DRAWS`` settlings of ours and of drawn cells."""
    network = NETWORKS[name]
    periphery = periphery_of(network, imperfect)
    machine = machine_of(network, periphery)
    x = input_of(network).expand(DRAWS, *network.state_shapes[0])
    push = Current(0.5, torch.ones(DRAWS, 5).double()) if nudged else None
    free = machine.settle(x)
    seen = machine.settle(x, push, start=free) if push else free
    heard = seen.output if name == "readout" and not nudged else seen.rest.states[-1]
    ours = [*seen.rest.states[:-1], heard]
    step = 4.0 / 255 if imperfect == "tiles" and heard is seen.output else 0.0
    for mine, slow in zip(ours, cell_by_cell(network, periphery, push, same), strict=True):
        spread, wanted = mine.std(0), slow.std(0)
        error = float(wanted.max()) / DRAWS**0.5
        torch.testing.assert_close(mine.mean(0), slow.mean(0), rtol=0, atol=6 * error + step)
        torch.testing.assert_close(spread, wanted, rtol=6 / (2 * DRAWS) ** 0.5, atol=1e-4 + step)


@pytest.mark.parametrize("nudged", [False, True])
@pytest.mark.parametrize(("name", "imperfect"), CASES)
def test_settlings_are_distributed_as_if_cells_were_drawn(
    name: str, imperfect: str, nudged: bool
) -> None:
    compare(name, imperfect, nudged)


@pytest.mark.parametrize("nudged", [False, True])
@pytest.mark.parametrize("imperfect", ["read noise", "line gains", "all lines"])
def test_where_no_array_is_read_both_ways_at_once_its_cells_are_the_same(
    imperfect: str, nudged: bool
) -> None:
    compare("readout", imperfect, nudged, same=True)


@pytest.mark.parametrize("chips", [1, 2, 3])
def test_tiles_are_no_chips(chips: int) -> None:
    """Samples that all chips share are read as if each had its own; two tiles, one of them driven.

    A converter of 12 bits hardly matters: a driven tile adds ``sigma |s|``, the bias ``sigma``.
    """
    network = Network(8, (Layer(500, Free()),))
    joint = network.joints[0]
    zeros = [torch.zeros(chips, *shape) for shape in joint.parameters.values()]
    x = torch.zeros(4, 8)
    x[:, :4] = 2.0
    found = []
    for shown in (x, x.expand(chips, 4, 8)):
        around = Periphery(adc_bits=12, partial=(Partial(2, 1, 1.0),))
        machine = Simulated(network, SOLVER, [Noisy(joint, zeros)], around, stream(0, "noise"))
        found.append(machine.settle(shown).output)
    torch.testing.assert_close(*found, rtol=0, atol=1e-6)
    assert found[0].shape == (chips, 4, 500)
    wanted, error = SIGMA * (16 + 1) ** 0.5, (2 * 4 * 500) ** -0.5
    torch.testing.assert_close(
        found[0].std((1, 2)), torch.full((chips,), wanted), rtol=5 * error, atol=0
    )


REFUSED: dict[str, tuple[str, object]] = {
    "a noisy convolution": ("read noise: .* Conv joint", lambda: _with(Noisy, Conv(1, 2, 2))),
    "a noisy recurrence": ("read noise: .* Recurrent joint", lambda: _with(Noisy, Recurrent(5, 1))),
    "noisy resistors": ("read noise: .* Resistive joint", lambda: _with(Noisy, Resistive((6,), 5))),
    "a convolution on pairs": ("pairs of cells .* Conv joint", lambda: _paired(Conv(1, 2, 2))),
    "resistors on pairs": ("pairs of cells .* Resistive", lambda: _paired(Resistive((6,), 5))),
    "pairs of another shape": ("pairs of cells .* 5 x 7 .* Dense", lambda: _paired(Dense((3,), 5))),
    "gains of a skip": ("lines that were drawn: .* Skip", lambda: _odd("skip", (GAINS,) * 3)),
    "tiles of a skip": (
        "converted partial sums: .* Skip",
        lambda: machine_of(NETWORKS["skip"], Periphery(partial=(Partial(2, 2, 1.0),) * 3)),
    ),
    "gains of neurons that a skip joins": (
        "gains of neurons: .* Skip joint",
        lambda: machine_of(NETWORKS["skip"], Periphery(lines=(
            uneven(NETWORKS["alone"], Spread(neuron_gain=0.1))[0], Lines(), Lines()))),
    ),
    "offsets of neurons that two joints reach": (
        r"layers \(1, 2\) have neurons .* reach layer 2",
        lambda: machine_of(NETWORKS["two into one"], Periphery(
            lines=uneven(NETWORKS["two into one"], Spread(sense_offset=0.1)))),
    ),
    "two sets of drivers": (
        "drive offsets of the input",
        lambda: machine_of(NETWORKS["two into one"], Periphery(
            lines=uneven(NETWORKS["two into one"], Spread(drive_offset=0.1)))),
    ),
    "too few lines": (
        "lines must be one per joint, 3, but are 1",
        lambda: machine_of(NETWORKS["skip"], Periphery(lines=(Lines(),))),
    ),
    "tiles and mismatch": (
        "cannot be combined with a transposed read",
        lambda: machine_of(NETWORKS["alone"], Periphery(
            lines=uneven(NETWORKS["alone"], ALL), partial=(Partial(2, 2, 1.0),) * 2)),
    ),
    "a ledger of a skip": ("only chains of Dense joints .* joint 3 is a Skip", lambda: _heard()),  # noqa: PLW0108
}  # fmt: skip


def _with(kind: type[Exact], joint: Joint) -> Simulated:
    units: int | tuple[int, ...] = (2, 5, 5) if isinstance(joint, Conv) else 5
    lower: int | tuple[int, ...] = (1, 6, 6) if isinstance(joint, Conv) else 6
    joints = (joint, Dense((6,), 5)) if isinstance(joint, Recurrent) else (joint,)
    network = Network(lower, (Layer(units, Free()),), joints)
    return Simulated(
        network, SOLVER, [kind(j, p) for j, p in zip(joints, parameters_of(network), strict=True)]
    )


def _paired(joint: Joint) -> Simulated:
    units: int | tuple[int, ...] = (2, 5, 5) if isinstance(joint, Conv) else 5
    lower: int | tuple[int, ...] = (1, 6, 6) if isinstance(joint, Conv) else joint.parameters[
        "weight"][1]  # fmt: skip
    network = Network(lower, (Layer(units, Free()),), (joint,))
    return Simulated(network, SOLVER, [pairs(torch.zeros(5, 7))])


def _odd(name: str, spreads: tuple[Spread, ...]) -> Simulated:
    lines = tuple(draw_lines(s, (5, 6), stream(0, "l", i)) for i, s in enumerate(spreads))
    return machine_of(NETWORKS[name], Periphery(lines=lines))


def _heard() -> Simulated:
    network = NETWORKS["skip"]
    stores = [Exact(j, p) for j, p in zip(network.joints, parameters_of(network), strict=True)]
    return Simulated(network, SOLVER, stores, listener=[].append)


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_array_can_be_is_refused_when_it_is_made(case: str) -> None:
    message, make = REFUSED[case]
    assert callable(make)
    with pytest.raises(InputError, match=message) as told:
        make()
    assert len(str(told.value)) < 300
    assert "\n" not in str(told.value)


def pairs(weight: Tensor, name: str = "a") -> SignedPair:
    return SignedPair(
        load("taox-1t1m"), weight, 100e-6, 20e-6, stream(0, name, "cells"),
        stream(0, name, "writes"), verified,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["no bias", "amplified", "image"])
def test_pairs_hold_every_joint_that_is_a_matrix(name: str) -> None:
    """The gradient of a chip is that of its weights; what is written reaches the cells."""
    network = NETWORKS[name]
    stores = [
        pairs(torch.cat([p.reshape(5, -1) for p in mine], -1).float(), str(i))
        for i, mine in enumerate(parameters_of(network))
    ]
    for store in stores:
        store.fluctuation = 0.0
    chip = Simulated(network, Sweep(1e-9, 300), stores)
    held = []
    for store, joint in zip(stores, network.joints, strict=True):
        biased = "bias" in joint.parameters
        held.append([store.weight[:, :-1], store.weight[:, -1]] if biased else [store.weight])
    ideal = Simulated.ideal(network, held, Sweep(1e-9, 300))
    x = input_of(network).float().expand(3, *network.state_shapes[0])
    target = torch.arange(3)
    ours = centred(0.01)(chip, x, target, CrossEntropy()).weights
    theirs = iter(centred(0.01)(ideal, x, target, CrossEntropy()).weights)
    for part, joint in zip(ours, network.joints, strict=True):
        wanted = torch.cat([next(theirs).reshape(5, -1) for _ in joint.parameters], -1)
        torch.testing.assert_close(part, wanted, rtol=1e-4, atol=1e-6)
    before = [store.cells for store in stores]
    chip.write([0.1 * torch.ones_like(p) for p in chip.parameters])
    assert all(bool((s.cells != b).any()) for s, b in zip(stores, before, strict=True))


# --- what the input's drivers sense


def single(bits: int | None = None) -> Simulated:
    network = Network(6, (Layer(5, Readout()),))
    weight = parameters_of(network)[0]
    return Simulated(network, SOLVER, [Noisy(network.joints[0], weight)],
                     Periphery(adc_bits=bits), stream(0, "noise"))  # fmt: skip


def test_the_gradient_by_the_input_fluctuates_as_every_cell_would() -> None:
    machine = single()
    weight = machine.parameters[0]
    way = torch.randn(5, generator=stream(0, "way")).double()
    x = input_of(machine.network).expand(20_000, 6)
    free = machine.settle(x)
    high, low = machine.settle_each(free, [Current(b, way.expand(20_000, 5)) for b in (0.5, -0.5)])
    seen = machine.reaction(high, low)
    exact = way @ weight
    draws = stream(1, "cells")
    reads = [
        b * torch.einsum("i,kij->kj", way, weight + SIGMA * torch.randn(
            20_000, 5, 6, generator=draws).double()) for b in (0.5, -0.5)
    ]  # fmt: skip
    slow = reads[0] - reads[1]
    formula = SIGMA * float(way.norm()) / 2**0.5
    torch.testing.assert_close(seen.mean(0), exact, rtol=0, atol=6 * formula / 20_000**0.5)
    torch.testing.assert_close(seen.std(0), slow.std(0), rtol=0.04, atol=0)
    assert float(seen.std(0).mean()) == pytest.approx(formula, rel=0.02)


def test_what_was_sensed_is_settled_with_the_states() -> None:
    machine = single()
    x = input_of(machine.network).expand(4, 6)
    way = torch.ones(4, 5).double()
    free = machine.settle(x)
    phases = [machine.settle_each(free, [Current(0.5, way), Current(-0.5, way)]) for _ in range(2)]
    later = torch.randn(3, generator=machine.noise)
    first, again = machine.reaction(*phases[0]), machine.reaction(*phases[0])
    assert torch.equal(first, again)
    assert not torch.equal(later, torch.randn(3, generator=machine.noise))  # only that drew
    assert not bool((first == machine.reaction(*phases[1])).any())
    weights = [machine.contrast(*phases[0]) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    one_sided = machine.reaction(phases[0][0], free)
    assert not torch.equal(one_sided, first)


def test_what_is_sensed_at_the_input_is_converted() -> None:
    machine = single(bits=6)
    machine.stores[0].fluctuation = 0.0
    x = input_of(machine.network)
    free = machine.settle(x)
    way = torch.randn(1, 5, generator=stream(0, "way")).double()
    way = way.clamp(-2.0, 2.0)  # within the rails of the drivers
    high, low = machine.settle_each(free, [Current(2.0, way), Current(-2.0, way)])
    step = 20.0 / 31
    wanted = 2 * ((2.0 * way @ machine.parameters[0]) / step).round() * step
    torch.testing.assert_close(machine.reaction(high, low), wanted)


@pytest.mark.parametrize("estimator", [centred(0.3), positive(0.3)])
def test_two_gradients_by_the_input_differ(estimator: object) -> None:
    network = NETWORKS["alone"]
    machine = machine_of(network, Periphery(8, 8))
    x = input_of(network).expand(7, 6)

    def gradient() -> Tensor:
        free = machine.settle(x)
        push = torch.ones(7, 5).double()
        assert callable(estimator)
        found = estimator.measure(  # type: ignore[attr-defined]
            machine, free, lambda beta: Current(beta, push), 1.0, True
        )
        assert found.x is not None
        return found.x

    first, second = gradient(), gradient()
    assert bool((first != second).any())


def test_a_chip_without_an_axis_of_chips_settles_sample_by_sample() -> None:
    """Solvers leave samples at rest behind; what was drawn for the others stays theirs."""
    network = Network(6, layers(5, 5, 5))
    machine = Simulated(
        network, Sweep(1e-7, 500),
        [Noisy(j, [3 * p for p in mine]) for j, mine in
         zip(network.joints, parameters_of(network), strict=True)],
        noise=stream(0, "noise"),
    )  # fmt: skip
    x = torch.randn(64, 6, generator=stream(0, "x")).double()
    seen = machine.settle(x)
    assert len(set(seen.rest.sweeps.tolist())) > 2
    assert bool(seen.rest.converged.all())


def test_matrices_of_other_kinds_are_never_taken_for_ours() -> None:
    class Own(Matrix):
        pass

    @dataclass(frozen=True)
    class Joint(Dense):
        def couple(self, parameters: Sequence[Tensor]) -> Own:
            return Own(*parameters)

    network = Network(6, (Layer(5, Free()),), (Joint((6,), 5),))
    with pytest.raises(InputError, match="read noise: .* Joint joint"):
        Simulated(network, SOLVER, [Noisy(network.joints[0], parameters_of(network)[0])])
