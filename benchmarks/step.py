"""One gradient step, ours against a plain reference, a peer's checkout and the arithmetic floor.

    python benchmarks/step.py [--peer CHECKOUT] [--json FILE] [--only NAME] [--rounds N]

All run on one thread in this process, alternating, on the same parameters, inputs and sweeps; the
median of the rounds counts, and in each round the shortest of ten steps in a row (of two, where it
takes more than 0.2 s): training runs them in a row, with its own caches warm. It is in processor
time, which others on the machine disturb less than the clock. At tolerance 0 no sweep is left out,
but of two flat layers those of a sample that repeats itself bit for bit, and convolutions of images
that are zero everywhere, as at the start. The *reference* is the same algorithm written for
clarity: states as they are, every pull anew in every sweep, two products subtracted. The *peer* is
a checkout of rain-neuromorphics/energy-based-learning. The *floor* is the time of the
multiplications alone, at the rate of a matrix product measured here; convolutions count in their
direct form, of which tiles (``fast/winograd.py``) do a quarter, so that ours may lie below that.
Gradients are compared before timing.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from madem.learn import centred, springs
from madem.machine import Simulated
from madem.network import (
    Box,
    Conv,
    Dense,
    Free,
    Joint,
    Layer,
    Maximum,
    Network,
    Resistive,
    SquaredError,
    diodes,
)
from madem.solver import Sweep

Gradients = list[Tensor]
COST = SquaredError()


@dataclass(frozen=True)
class Case:
    """A network, its sweeps and its nudge; ``gain``: that of inputs which come as x and -x."""

    name: str
    network: Network
    batch: int
    free: int
    nudged: int
    beta: float
    gain: float = 0.0

    def inputs(self) -> tuple[Tensor, Tensor]:
        draws = torch.Generator().manual_seed(1)
        shape = self.network.state_shapes[0]
        x = torch.rand(self.batch, *shape, generator=draws)
        return x, torch.randint(10, (self.batch,), generator=draws)


def hopfield(*units: int) -> Network:
    hidden = tuple(Layer(n, Box(0.0, 1.0)) for n in units[1:-1])
    joints = tuple(Dense((a,), b, (i, i + 1), gain=0.7) for i, (a, b) in enumerate(pairwise(units)))
    return Network(units[0], (*hidden, Layer(units[-1], Free())), joints)


def resistive(gain: float, *units: int) -> Network:
    hidden = tuple(Layer(n, diodes()) for n in units[1:-1])
    joints = tuple(
        Resistive((a,), b, (i, i + 1), mirror=None if i else gain)
        for i, (a, b) in enumerate(pairwise(units))
    )
    return Network(units[0], (*hidden, Layer(units[-1], Free(leak=0.0))), joints)


def conv_hopfield() -> Network:
    channels, pixels = (3, 128, 256, 512, 512), (32, 16, 8, 4, 2)
    layers = [
        Layer((c, n, n), Box(0.0, 1.0)) for c, n in zip(channels[1:], pixels[1:], strict=True)
    ]
    joints: list[Joint] = [
        Conv(a, b, 3, (i, i + 1), padding=1, pool=Maximum(2), gain=0.5)
        for i, (a, b) in enumerate(pairwise(channels))
    ]
    joints.append(Dense((512, 2, 2), 10, (4, 5), gain=0.5))
    return Network((3, 32, 32), (*layers, Layer(10, Free())), tuple(joints))


CASES = [
    Case("deep_hopfield_784_512_10_b64", hopfield(784, 512, 10), 64, 15, 15, 0.2),
    Case("deep_hopfield_784_512_512_10_b64", hopfield(784, 512, 512, 10), 64, 20, 20, 0.2),
    Case("deep_resistive_1568_1024_10_b64", resistive(480.0, 784, 1024, 10), 64, 4, 4, 1.0, 480.0),
    Case("deep_resistive_1568_1024_10_b4", resistive(480.0, 784, 1024, 10), 4, 4, 4, 1.0, 480.0),
    Case("deep_resistive_1568_100_10_b4", resistive(100.0, 784, 100, 10), 4, 4, 4, 1.0, 100.0),
    Case("conv_hopfield_32_b16", conv_hopfield(), 16, 60, 15, 0.25),
]


def doubled(case: Case, x: Tensor) -> Tensor:
    """Return the input as the network takes it."""
    return case.gain * torch.cat([x, -x], -1) if case.gain else x


def ours(
    case: Case, parameters: list[list[Tensor]], tolerance: float = 0.0
) -> Callable[..., Gradients]:
    """Return our step: free phase, both nudged phases, contrast."""
    machine = Simulated.ideal(case.network, parameters)
    estimator = centred(case.beta, springs)

    def step(x: Tensor, target: Tensor) -> Gradients:
        machine.solver = Sweep(tolerance, case.free)
        free = machine.settle(x)
        machine.solver = Sweep(tolerance, case.nudged)
        push = springs(COST, free.output, target)
        return list(estimator.measure(machine, free, push, 1 / case.batch).weights)

    return step


def reference(case: Case, parameters: list[list[Tensor]]) -> Callable[..., Gradients]:
    """Return the same algorithm as it stands in a textbook: nothing cached, nothing fused."""
    joints, layers = case.network.joints, case.network.layers
    dense = all(not isinstance(j, Conv) for j in joints)
    ohmic = isinstance(joints[0], Resistive)

    def forward(i: int, s: Tensor) -> Tensor:
        joint, w = joints[i], parameters[i][0]
        if isinstance(joint, Conv):
            return functional.max_pool2d(functional.conv2d(s, w, padding=joint.padding), 2)
        return s.flatten(1) @ w.T

    def backward(i: int, s: Tensor, post: Tensor) -> Tensor:
        joint, w = joints[i], parameters[i][0]
        if not isinstance(joint, Conv):
            return (post @ w).view_as(s)
        z = functional.conv2d(s, w, padding=joint.padding)
        _, places = functional.max_pool2d(z, 2, return_indices=True)
        image = functional.max_unpool2d(post, places, 2)
        return functional.conv_transpose2d(image, w, padding=joint.padding)

    def rest(i: int, states: list[Tensor], beta: float, aim: Tensor) -> Tensor:
        bias = parameters[i][1]
        drive = forward(i, states[i]) + (bias if states[i + 1].dim() == 2 else bias[:, None, None])
        load = parameters[i][0].sum(1) if ohmic else torch.ones(())
        if i + 1 < len(layers):
            drive = drive + backward(i + 1, states[i + 1], states[i + 2])
            load = load + parameters[i + 1][0].sum(0) if ohmic else load
            v = drive / load
            if not ohmic:
                return v.clamp(0, 1)
            half = v.shape[1] // 2
            return torch.cat([v[:, :half].clamp(min=0), v[:, half:].clamp(max=0)], 1)
        return (drive + beta * aim) / (load + beta)

    def settle(states: list[Tensor], beta: float, aim: Tensor, sweeps: int) -> list[Tensor]:
        states = list(states)
        for _ in range(sweeps):
            for i in (*range(0, len(layers), 2), *range(1, len(layers), 2)):
                states[i + 1] = rest(i, states, beta, aim)
        return states

    def products(states: list[Tensor]) -> Gradients:
        found = []
        for i, joint in enumerate(joints):
            pre, post = states[i], states[i + 1]
            if isinstance(joint, Conv):
                z = functional.conv2d(pre, parameters[i][0], padding=joint.padding)
                _, places = functional.max_pool2d(z, 2, return_indices=True)
                image = functional.max_unpool2d(post, places, 2)
                found += [
                    -torch.nn.grad.conv2d_weight(
                        pre, parameters[i][0].shape, image, padding=joint.padding
                    ),
                    -post.sum((0, 2, 3)),
                ]
            elif ohmic:
                squares = (pre[:, None, :] - post[:, :, None]).square().sum(0) / 2
                found += [squares, -post.sum(0)]
            else:
                found += [-(post.T @ pre.flatten(1)), -post.sum(0)]
        return found

    def step(x: Tensor, target: Tensor) -> Gradients:
        x = doubled(case, x)
        aim = functional.one_hot(target, 10).to(x)
        start = [x] + [x.new_zeros(len(x), *layer.shape) for layer in layers]
        free = settle(start, 0.0, aim, case.free)
        high, low = (settle(free, b * case.beta, aim, case.nudged) for b in (1, -1))
        return [
            (h - v) / (2 * case.beta * len(x))
            for h, v in zip(products(high), products(low), strict=True)
        ]

    assert dense or not ohmic
    return step


def peer(case: Case, parameters: list[list[Tensor]], checkout: Path) -> Callable[..., Gradients]:
    """Return the peer's step on the same parameters."""
    if str(checkout) not in sys.path:
        sys.path.insert(0, str(checkout))
    from model.function.cost import SquaredError as PeerCost
    from model.function.network import Network as PeerNetwork
    from model.hopfield.minimizer import FixedPointMinimizer
    from model.hopfield.network import ConvHopfieldEnergy32, DeepHopfieldEnergy
    from model.resistive.minimizer import QuadraticMinimizer
    from model.resistive.network import DeepResistiveEnergy
    from training.sgd import AugmentedFunction, EquilibriumProp

    shapes = case.network.state_shapes
    gains = [1.0] * (len(shapes) - 1)
    minimiser = FixedPointMinimizer
    if isinstance(case.network.joints[0], Conv):
        energy = ConvHopfieldEnergy32(3, 10)
    elif isinstance(case.network.joints[0], Resistive):
        energy = DeepResistiveEnergy([(2, shapes[0][0]), *shapes[1:]], gains, case.gain)
        minimiser = QuadraticMinimizer
    else:
        energy = DeepHopfieldEnergy(shapes, gains)
    count = len(case.network.joints)
    for i, (weight, bias) in enumerate(parameters):
        energy.params()[i].state = bias.clone()
        theirs = energy.params()[count + i]
        moved = weight if weight.dim() == 4 else weight.T.reshape(theirs.state.shape)
        theirs.state = moved.contiguous().clone()
    network, cost = PeerNetwork(energy), PeerCost(energy.layers()[-1])
    augmented = AugmentedFunction(energy, cost)
    free = minimiser(energy, network.free_layers())
    nudged = minimiser(augmented, network.free_layers())
    for each, sweeps in ((free, case.free), (nudged, case.nudged)):
        each.num_iterations, each.mode = sweeps, "asynchronous"
    estimator = EquilibriumProp(energy.params(), energy.layers(), augmented, cost, nudged)
    estimator.nudging, estimator.variant = case.beta, "centered"

    def step(x: Tensor, target: Tensor) -> Gradients:
        if case.gain:
            x = x[:, None, :]  # the peer doubles along the axis of channels
        network.set_input(x, reset=True)
        cost.set_target(target)
        free.compute_equilibrium()
        found = estimator.compute_gradient()
        ordered = []
        for i, (weight, _) in enumerate(parameters):
            theirs = found[count + i]
            theirs = theirs if weight.dim() == 4 else theirs.reshape(weight.T.shape).T
            ordered += [theirs, found[i].reshape(-1) if weight.dim() == 2 else found[i]]
        return ordered

    return step


def best_time(function: Callable[[], object], rounds: int = 7) -> float:
    """Return the shortest of several runs, s of processor time."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def floor(case: Case) -> float:
    """Return the time of the multiplications alone, s, each at the measured rate of its kind.

    Products with the clamped input count twice (drive and gradient; x W+ - x W- is one product);
    those between layers twice a sweep and twice in the gradient.
    """
    sweeps = case.free + 2 * case.nudged
    total = 0.0
    a, b = torch.rand(512, 512), torch.rand(512, 512)
    rate = 2 * 512**3 / best_time(lambda: a @ b, 20)
    for i, joint in enumerate(case.network.joints):
        if isinstance(joint, Conv):
            below, above = case.network.state_shapes[i : i + 2]
            pixels = below[1] * below[2]
            operations = 2 * case.batch * pixels * below[0] * above[0] * joint.size**2
        else:
            operations = 2 * case.batch * torch.Size(joint.pre).numel() * joint.post
        total += operations * (2 if i == 0 else 2 * sweeps + 2) / rate
    return total


def error(found: Gradients, wanted: Gradients) -> float:
    """Return the largest relative error of a parameter's gradient."""
    pairs = [(f, w) for f, w in zip(found, wanted, strict=True) if float(w.norm())]
    return max(float((f - w).norm() / w.norm()) for f, w in pairs)


def memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(case: Case, checkout: Path | None, rounds: int) -> dict[str, object]:
    """Return one row of the table."""
    parameters = case.network.initial(torch.Generator().manual_seed(0))
    x, target = case.inputs()
    steps = {"ours": ours(case, parameters)}
    before = memory_mib()
    settled = steps["ours"](x, target)
    memory = memory_mib() - before
    steps["adaptive"] = ours(case, parameters, tolerance=1e-4)
    steps["reference"] = reference(case, parameters)
    if checkout:
        steps["peer"] = peer(case, parameters, checkout)
    errors, repeats = {}, {}
    for name, step in steps.items():
        begun = time.process_time()
        errors[name] = error(step(x, target), settled)
        repeats[name] = 2 if time.process_time() - begun > 0.2 else 10
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(best_time(lambda step=step: step(x, target), repeats[name]))
    ms = {name: 1e3 * sorted(t)[len(t) // 2] for name, t in times.items()}
    least = 1e3 * floor(case)
    return {
        "name": case.name,
        "ours_ms": ms["ours"],
        "reference_ms": ms["reference"],
        "peer_ms": ms.get("peer"),
        "floor_ms": least,
        "peer_ratio": ms["peer"] / ms["ours"] if "peer" in ms else None,
        "adaptive_ms": ms["adaptive"],
        "over_floor": ms["ours"] / least,
        "difference": {n: e for n, e in errors.items() if n != "ours"},
        "memory_mib": memory,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", type=Path, help="a checkout of the peer to compare with")
    parser.add_argument("--json", type=Path, help="where to write the rows")
    parser.add_argument("--only", help="the name of one case, or part of it")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread")
    print(f"{'':34}{'ours':>9}{'adaptive':>10}{'reference':>11}{'peer':>10}{'floor':>9}"
          f"{'peer/ours':>11}{'ours/floor':>12}   difference from reference, peer")  # fmt: skip
    rows = []
    for case in CASES:
        if options.only and options.only not in case.name:
            continue
        row = measure(case, options.peer, options.rounds)
        rows.append(row)
        theirs, ratio = row["peer_ms"], row["peer_ratio"]
        differences = row["difference"]
        print(f"{row['name']:34}{row['ours_ms']:9.2f}{row['adaptive_ms']:10.2f}"
              f"{row['reference_ms']:11.2f}{theirs or float('nan'):10.2f}{row['floor_ms']:9.2f}"
              f"{ratio or float('nan'):11.1f}{row['over_floor']:12.2f}   "
              f"{differences['reference']:.1e} {differences.get('peer', float('nan')):.1e}",
              flush=True)  # fmt: skip
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
