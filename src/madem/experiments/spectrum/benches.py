"""The tasks of the spectrum, and the two networks that learn each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from madem.data.task import Finite
from madem.data.words import Classify
from madem.experiments.config.networks import HopfieldConfig
from madem.experiments.spectrum.imperfections import chips_with
from madem.learn import Estimator, Rule
from madem.learn.rules import Rate
from madem.network import Network, SquaredError
from madem.training import Pairs, Plan, Schedule
from madem.training.assemble import Holding


@dataclass(frozen=True)
class Sizes:
    """What is chosen for a task (by hand, ours).

    ``hidden`` units; ``gain``: of the first weights, within ``gain / sqrt(inputs)`` in each layer;
    ``units``: conductance of weight one in each, S; ``inside``: the same where the outputs are
    inside the energy, whose squared error wants smaller weights; ``slower``: what learning rates
    are multiplied by there; ``beta``: size of a nudge; ``shares``: what the learning rate of each
    layer is multiplied by.
    """

    title: str
    hidden: tuple[int, ...]
    gain: tuple[float, ...]
    units: tuple[float, ...]
    inside: tuple[float, ...]
    slower: float
    beta: float
    shares: tuple[float, ...] = (1.0,)


SIZES = {
    "braille": Sizes("Braille words, one layer", (), (0.0,), (400e-6,), (2000e-6,), 0.3, 2.0),
    "braille-deep": Sizes("Braille words, two layers", (31,), (0.67, 0.48), (700e-6, 100e-6),
                          (700e-6, 1000e-6), 1.0, 0.5),
    "digits": Sizes("digits 8 x 8, two layers", (31,), (1.1, 0.77), (400e-6, 150e-6),
                    (400e-6, 1000e-6), 1.0, 0.5),
    "digits-deep": Sizes("digits 8 x 8, three layers", (31, 31), (1.1, 0.6, 0.77),
                         (700e-6, 700e-6, 150e-6), (700e-6, 700e-6, 1000e-6), 1.0, 0.5,
                         (0.5, 0.2, 1.0)),
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """How a rule learns on chips: its gradient, what it makes of it, and where it is held.

    ``inside``: whether outputs are inside the energy, as estimators that hold them need;
    ``sampled``: whether displacements are converted, and outputs in a range that is measured.
    """

    estimator: Estimator
    rule: Rule
    inside: bool = False
    holding: Holding = Pairs()
    sampled: bool = False


@dataclass(frozen=True)
class Bench:
    """A task, the chips that learn it, from how much, and at what they are looked.

    ``task``: its validation set is what chips are tested on: images or words that nothing was
    tuned on, or, in tuning, others.
    """

    name: str
    seed: int
    chips: int
    steps: int
    batch: int
    base: float
    task: Classify | Finite

    @property
    def sizes(self) -> Sizes:
        """What is chosen for the task."""
        return SIZES[self.name]

    def network(self, inside: bool) -> Network:
        """Return the network: its outputs ``inside`` the energy, or sensed and not fed back."""
        readout = bool(self.sizes.hidden) and not inside
        shape = HopfieldConfig(hidden=self.sizes.hidden, gain=self.sizes.gain, readout=readout)
        return shape.build(self.task.inputs, self.task.outputs)

    def plan(self, how: Recipe, rate: Rate, severe: Mapping[str, float]) -> Plan:
        """Return the plan of learning as ``how`` says on chips with what is ``severe``."""
        sizes, task, units = self.sizes, self.task, self.sizes.units
        if how.inside:
            task, units = replace(task, cost=SquaredError()), sizes.inside
            rate = rate * sizes.slower
        making = chips_with(severe, self.chips, self.base, units, how.sampled)
        return Plan(
            self.name, self.seed, task, self.network(how.inside),
            replace(making, holding=how.holding), how.estimator, how.rule,
            Schedule(self.steps, self.batch, tuple(share * rate for share in sizes.shares)),
        )  # fmt: skip
