"""Is the first layer's gradient right in float32? Deep resistive networks at the published gains.

    python benchmarks/float32.py

Prints for 1, 2 and 3 hidden layers of 1,024 nodes (arXiv 2402.11674: input gains 480, 2,000 and
4,000) the relative error of the first layer's float32 gradient against implicit differentiation in
float64 on Fashion-MNIST images, at the start and after 150 training steps at the published rates.
"""

from __future__ import annotations

import torch
from step import resistive

from madem.data.images import FASHION, idx
from madem.learn import Implicit, centred, springs
from madem.machine import Simulated
from madem.network import SquaredError
from madem.solver import Sweep

COST = SquaredError()
CASES = {
    1: (480.0, 1.0, (0.006, 0.006)),
    2: (2000.0, 1.0, (0.002, 0.006, 0.018)),
    3: (4000.0, 2.0, (0.005, 0.02, 0.08, 0.005)),
}


def first_layer_error(machine: Simulated, beta: float, x: torch.Tensor, y: torch.Tensor) -> float:
    machine.solver = Sweep(1e-6, 200)
    found = centred(1e-3 * beta, springs)(machine, x, y, COST).weights[0]
    double = [[p.double() for p in store.parameters] for store in machine.stores]
    exact = Implicit()(
        Simulated.ideal(machine.network, double, Sweep(1e-12, 3000)), x.double(), y, COST
    ).weights[0]
    return float((found - exact).norm() / exact.norm())


def main() -> None:
    torch.set_num_threads(1)
    data = idx(FASHION)
    images, classes = data.train.flatten(1), data.train_classes
    for hidden, (gain, beta, rates) in CASES.items():
        network = resistive(gain, 784, *[1024] * hidden, 10)
        machine = Simulated.ideal(network, network.initial(torch.Generator().manual_seed(0)))
        before = first_layer_error(machine, beta, images[:16], classes[:16])
        machine.solver = Sweep(0.0, 3 + hidden)
        for step in range(150):
            rows = slice(4 * step, 4 * step + 4)
            gradient = centred(beta, springs)(machine, images[rows], classes[rows], COST)
            machine.write([-rates[i // 2] * g for i, g in enumerate(gradient.weights)])
        after = first_layer_error(machine, beta, images[:16], classes[:16])
        print(f"{hidden} hidden: error {before:.1e} at the start, {after:.1e} after 150 steps")


if __name__ == "__main__":
    main()
