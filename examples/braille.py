"""Sixteen simulated chips learn to read Braille words in place, by activity differences alone."""

import torch

import madem

STEPS, CHIPS, UNIT, BASE = 3000, 16, 400e-6, 20e-6  # UNIT, BASE in siemens

task = madem.Classify(madem.dots(madem.read_words()), flip=0.2)
network = madem.Network(inputs=60, layers=(madem.Layer(32, madem.Free()),))
madem.place(network.shapes)  # refuses what does not fit two 64 x 64 arrays

cells = madem.SignedPair(
    madem.load("taox-1t1m"), torch.zeros(CHIPS, 32, 61), UNIT, BASE,
    madem.stream(0, "chips"), madem.stream(0, "writes"), madem.verified,
)  # fmt: skip
periphery = madem.Periphery(8, 8)  # bits of the converters
machine = madem.Simulated(network, madem.Sweep(), [cells], periphery, madem.stream(0, "noise"))
estimator, rule = madem.centred(beta=2.0), madem.Accumulate(thresholds=(15e-6 / UNIT,))
memory, data = rule.init(cells.parameters), madem.stream(0, "data")

for step in range(STEPS):
    x, target, _ = task.sample((CHIPS, 32), data)
    gradient = estimator(machine, x, target, task.cost)  # three settlings, one contrast
    rate = 0.5 * (1 - step / STEPS)
    wanted, memory = rule.update(memory, gradient.weights, (rate,))
    machine.write(wanted)

x, target, _ = task.sample((CHIPS, 5000), madem.stream(0, "test"))
accuracy = task.cost.correct(machine.settle(x).output, target).double().mean(-1)
print(f"words right: {100 * accuracy.mean():.1f} % +- {100 * accuracy.std():.1f} % over chips")
