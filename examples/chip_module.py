"""A simulated chip as a PyTorch module: any loss and optimiser, and commit() to write its cells."""

import torch

import madem

UNIT, BASE = 400e-6, 20e-6  # conductance of a weight of one, and of a pair at rest, in siemens
task, data = madem.Classify(madem.dots(madem.read_words()), flip=0.2), madem.stream(0, "data")
network = madem.Network(inputs=60, layers=(madem.Layer(32, madem.Free()),))
madem.place(network.shapes)  # 60 inputs and a bias take 61 of the 64 lines of each array
cells = madem.SignedPair(
    madem.load("taox-1t1m"), torch.zeros(32, 61), UNIT, BASE,
    madem.stream(0, "chips"), madem.stream(0, "writes"), madem.verified,
)  # fmt: skip
noise, periphery = madem.stream(0, "noise"), madem.Periphery(dac_bits=8, adc_bits=8)
chip = madem.Equilibrium(madem.Simulated(network, madem.Sweep(), [cells], periphery, noise))
optimiser = torch.optim.SGD(chip.parameters(), lr=0.5)
for _ in range(1000):
    x, _, words = task.sample((32,), data)
    loss = torch.nn.functional.cross_entropy(chip(x), words)  # the free phase
    optimiser.zero_grad()
    loss.backward()  # the nudged phases, on the same cells
    optimiser.step()  # changes what is wanted, a digital memory
    chip.commit(threshold=15e-6 / UNIT)  # writes the cells that are 15 uS off
x, _, words = task.sample((2000,), madem.stream(0, "test"))
print(f"words right: {100 * (chip(x).argmax(-1) == words).double().mean():.1f} %")
