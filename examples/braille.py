"""Sixteen simulated chips learn to read Braille words in place, by activity differences alone."""

import torch

from madem.data.braille import dots, read_words
from madem.data.tasks import Classify
from madem.device import load
from madem.learn import Accumulate, centred
from madem.machine import Periphery, SignedPair, Simulated, place, verified
from madem.network import Free, Layer, Network
from madem.randomness import stream
from madem.solver import Sweep

STEPS, CHIPS, UNIT, BASE = 3000, 16, 400e-6, 20e-6  # UNIT, BASE in siemens

task = Classify(dots(read_words()), flip=0.2)
network = Network(inputs=60, layers=(Layer(32, Free()),))
place(network.shapes)  # refuses what does not fit two 64 x 64 arrays

cells = SignedPair(
    load("taox-1t1m"), torch.zeros(CHIPS, 32, 61), UNIT, BASE,
    stream(0, "chips"), stream(0, "writes"), verified,
)  # fmt: skip
machine = Simulated(network, Sweep(), [cells], Periphery(8, 8), stream(0, "noise"))
estimator, rule = centred(beta=2.0), Accumulate(thresholds=(15e-6 / UNIT,))
memory, data = rule.init(cells.parameters), stream(0, "data")

for step in range(STEPS):
    x, target, _ = task.sample((CHIPS, 32), data)
    gradient = estimator(machine, x, target, task.cost)  # three settlings, one contrast
    rate = 0.5 * (1 - step / STEPS)
    wanted, memory = rule.update(memory, gradient.weights, (rate,))
    machine.write(wanted)

x, target, _ = task.sample((CHIPS, 5000), stream(0, "test"))
accuracy = task.cost.correct(machine.settle(x).output, target).double().mean(-1)
print(f"words right: {100 * accuracy.mean():.1f} % +- {100 * accuracy.std():.1f} % over chips")
