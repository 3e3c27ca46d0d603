"""One training step of a layer of 64 x 64 cells, batch 32: ours, and the analog kit where it runs.

    python benchmarks/kit_step.py [--kit PYTHON]

*Ours*: settle free, nudged both ways, contrast, and pulses to the cells of the pairs. *The kit*:
forward, backward, and its stochastic pulsed update, on its preset ReRamSB. PYTHON is the
interpreter of an environment that holds the kit (aihwkit 1.1.0 with torch 2.10.0 was used); it is
asked in a process of its own, as its torch is another one. Both on one thread; the best of 30.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from collections.abc import Callable

KIT = """
import time, torch
from aihwkit.nn import AnalogLinear
from aihwkit.optim import AnalogSGD
from aihwkit.simulator.configs import SingleRPUConfig
from aihwkit.simulator.presets.devices import ReRamSBPresetDevice
torch.set_num_threads(1)
layer = AnalogLinear(64, 64, bias=False, rpu_config=SingleRPUConfig(device=ReRamSBPresetDevice()))
optimiser = AnalogSGD(layer.parameters(), lr=0.05)
optimiser.regroup_param_groups(layer)
x, target = torch.rand(32, 64), torch.rand(32, 64)
times = []
for _ in range(60):
    begun = time.perf_counter()
    optimiser.zero_grad()
    torch.nn.functional.mse_loss(layer(x), target).backward()
    optimiser.step()
    times.append(time.perf_counter() - begun)
print(1e3 * min(times))
"""


def best(step: Callable[[], object], rounds: int = 60) -> float:
    """Return the shortest of several runs, ms."""
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        step()
        times.append(time.perf_counter() - begun)
    return 1e3 * min(times)


def ours() -> Callable[[], object]:
    import torch

    from madem.device import load
    from madem.learn import centred
    from madem.machine import SignedPair, Simulated, single_pulse
    from madem.network import Free, Layer, Network, SquaredError
    from madem.randomness import stream
    from madem.solver import Sweep

    torch.set_num_threads(1)
    cell, network = load("hfo2-softbounds"), Network(63, (Layer(64, Free()),))
    store = SignedPair(
        cell, torch.zeros(1, 64, 64), cell.high / 2, cell.high / 2,
        stream(0, "cells"), stream(0, "writes"), single_pulse,
    )  # fmt: skip
    machine = Simulated(network, Sweep(), [store], noise=stream(0, "noise"))
    x, target = torch.rand(1, 32, 63), torch.rand(1, 32, 64)
    cost, estimator = SquaredError(), centred(0.5)

    def step() -> object:
        gradient = estimator(machine, x, target, cost)
        return machine.write([-0.05 * g for g in gradient.weights])

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kit", help="the Python of an environment that holds the kit")
    options = parser.parse_args()
    mine = best(ours())
    print(f"ours, a chip of 64 x 64 pairs, every cell pulsed: {mine:.2f} ms")
    if options.kit:
        done = subprocess.run([options.kit, "-c", KIT], capture_output=True, text=True, check=True)
        kit = float(done.stdout.split()[-1])
        print(f"the kit, a tile of 64 x 64: {kit:.2f} ms, {kit / mine:.1f} times ours")


if __name__ == "__main__":
    main()
