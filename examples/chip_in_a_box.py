"""A chip in another process learns to read Braille words, and a simulated one beside it."""

import sys
from pathlib import Path

import torch

import madem
from madem.machine import Machine, Piped

STEPS, UNIT, BASE = 600, 400e-6, 20e-6  # UNIT, BASE in siemens
SCRIPT = Path(__file__).parent / "scripted_chip.py"

network = madem.Network(inputs=60, layers=(madem.Layer(32, madem.Free()),))


def piped() -> Machine:
    """Return the chip in another process, which holds weights of zero."""
    return Piped(network, [sys.executable, str(SCRIPT), "60", "32", "0"])


def simulated() -> Machine:
    """Return a simulated chip, programmed to weights of zero."""
    pairs = madem.SignedPair(
        madem.load("taox-1t1m"), torch.zeros(32, 61), UNIT, BASE,
        madem.stream(0, "chips"), madem.stream(0, "writes"), madem.verified,
    )  # fmt: skip
    return madem.Simulated(network, madem.Sweep(), [pairs], noise=madem.stream(0, "noise"))


def trained(machine: Machine, steps: int) -> float:
    """Return the share of words that are read right after so many steps of training."""
    task = madem.Classify(madem.dots(madem.read_words()), flip=0.2)
    count = len(machine.parameters)
    rule, data = madem.Accumulate((15e-6 / UNIT,) * count), madem.stream(0, "data")
    memory = rule.init(machine.parameters)
    for step in range(steps):
        x, target, _ = task.sample((32,), data)
        gradient = madem.centred(beta=2.0)(machine, x, target, task.cost)
        rates = (0.5 * (1 - step / steps),) * count
        wanted, memory = rule.update(memory, gradient.weights, rates)
        machine.write(wanted)
    x, target, _ = task.sample((2000,), madem.stream(0, "test"))
    return float(task.cost.correct(machine.settle(x).output, target).double().mean())


if __name__ == "__main__":
    for name, make in (("simulated", simulated), ("in another process", piped)):
        print(f"chip {name}: {100 * trained(make(), STEPS):.1f} % of words right")
