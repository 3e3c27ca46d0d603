"""The config of the main job: every field with its default, checked at the door."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from madem.data.braille import dots
from madem.data.words import Classify, Reconstruct
from madem.device import load
from madem.experiments.config.base import Strict, merged
from madem.experiments.config.machines import ChipConfig
from madem.experiments.config.names import ESTIMATORS, RULES
from madem.experiments.config.networks import HopfieldConfig
from madem.experiments.config.parts import DigitalConfig, Learning, ScheduleConfig, WritingConfig
from madem.experiments.config.quantities import (
    Letters,
    Probability,
    Samples,
    Seed,
    Share,
    Words,
    cells_need,
)
from madem.training import Plan

TASKS = ("classify", "reconstruct")
DEPTHS = ("one_layer", "two_layer")
NETWORKS = tuple(f"{task}.{depth}" for task in TASKS for depth in DEPTHS)
"""What the networks of the main job are called: a task, a point, a depth."""

COMPARED = "classify.one_layer"
"""The network on which ways of writing are compared."""


class Learner(Learning, Strict):
    """How one network learns, and what it is measured against.

    ``backprop``, ``ex_situ``: the yardsticks of the same architecture, as good as can be in exact
    numbers, and as good as can be after being programmed once. The shipped ones are the best of
    ``python benchmarks/tune.py backprop`` and ``ex_situ`` (``benchmarks/results/``); ``chips``
    tries other settings than the chips' own.
    """

    backprop: DigitalConfig = DigitalConfig()
    ex_situ: DigitalConfig = DigitalConfig()


def _learner(
    units: tuple[str, ...],
    rates: tuple[float, ...],
    beta: float,
    threshold: str,
    steps: int,
    yardsticks: tuple[DigitalConfig, DigitalConfig],
) -> Learner:
    """Return a shipped learner: one layer from zero, or two with 31 hidden units."""
    network = HopfieldConfig(gain=(0.0,))
    if len(units) > 1:
        network = HopfieldConfig(hidden=(31,), gain=(0.67, 0.96), readout=True)
    return Learner(
        network=network,
        estimator=ESTIMATORS.part({"kind": "centred", "beta": beta}),
        rule=RULES.part({"kind": "accumulate", "threshold": threshold}),
        writing=WritingConfig(units=units),
        schedule=ScheduleConfig(steps=steps, rates=rates),
        backprop=yardsticks[0],
        ex_situ=yardsticks[1],
    )


def _adam(rate: float, units: tuple[str, ...], gain: float = 0.5) -> DigitalConfig:
    return DigitalConfig(optimiser="adam", rates=(rate,) * len(units), units=units, gain=gain)


class ClassifyConfig(Strict):
    """Which word is it?"""

    flip_probability: Probability = 0.2
    one_layer: Learner = _learner(
        ("400 uS",), (0.5,), 2.0, "15 uS", 3000,
        (DigitalConfig(bounded=False, rates=(0.0625,)), DigitalConfig(rates=(2.0,))),
    )  # fmt: skip
    two_layer: Learner = _learner(
        ("700 uS", "100 uS"), (0.25, 0.5), 0.5, "15 uS", 4000,
        (_adam(5e-3, ("990 uS", "70.7 uS")), _adam(2e-2, ("1400 uS", "70.7 uS"))),
    )  # fmt: skip


class ReconstructConfig(Strict):
    """What are all its dots?"""

    flip_probability: Probability = 0.05
    hidden_probability: Share = 0.2
    one_layer: Learner = _learner(
        ("70 uS",), (0.5,), 2.0, "5 uS", 3000,
        (DigitalConfig(bounded=False, rates=(2.0,)), DigitalConfig(noise="16 uS")),
    )  # fmt: skip
    two_layer: Learner = _learner(
        ("200 uS", "50 uS"), (1.0, 1.0), 0.1, "15 uS", 4000,
        (_adam(0.32, ("200 uS", "25 uS"), 1.0), _adam(0.16, ("283 uS", "70.7 uS"))),
    )  # fmt: skip


class BrailleConfig(Strict):
    """The main job. ``words`` are in the config, so that a run directory is self-contained.

    ``test_flips``: probabilities at which it is tested besides that of training.
    ``compare_writing``: whether ways of writing are compared too.

    >>> BrailleConfig.of({"words": ["a", "b"]}).machine.device
    'taox-1t1m'
    >>> BrailleConfig.of({"words": ["a", "b"], "sede": 1})
    Traceback (most recent call last):
    ...
    madem.errors.InputError: unknown key 'sede': did you mean 'seed'? (allowed: classify, \
compare_writing, experiment, letters, machine, reconstruct, seed, test_flips, test_samples, words)
    """

    experiment: Literal["braille"] = "braille"
    seed: Seed = 0
    letters: Letters = 10
    words: Words
    test_samples: Samples = 10_000
    test_flips: tuple[Probability, ...] = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
    compare_writing: bool = True
    machine: ChipConfig = ChipConfig()
    classify: ClassifyConfig = ClassifyConfig()
    reconstruct: ReconstructConfig = ReconstructConfig()

    def needs(self) -> Mapping[str, float]:
        """Return about how many bytes the largest network takes at least."""
        dots, words, needs = 6 * self.letters, len(self.words), list[dict[str, float]]()
        for name in NETWORKS:
            learner, top = self.learner(name), words if name.startswith("classify") else dots
            layers = (dots, *getattr(learner.network, "hidden", ()), top)
            needs.append(cells_need(self.machine.chips, layers, learner.schedule.batch, "machine."))
        return {
            **max(needs, key=lambda need: sum(need.values())),
            "test_samples, letters or words": self.test_samples * (12.0 * dots + 8 * words),
            "machine.lines or arrays": 24.0 * self.machine.arrays * self.machine.lines**2,
        }

    def learner(self, name: str, change: Mapping[str, Any] | None = None) -> Learner:
        """Return how the network ``name``, ``task.depth``, learns, some of it changed."""
        task, depth = name.split(".")
        found: Learner = getattr(getattr(self, task), depth)
        return Learner.of(merged(found.model_dump(mode="json"), change)) if change else found

    def plan(self, name: str, change: Mapping[str, Any] | None = None) -> Plan:
        """Return the plan of the network ``name``, ``task.depth``; what is drawn is named by it.

        Raises ``InputError`` where it does not fit the chip.

        >>> BrailleConfig.of({"words": ["a", "b"]}).plan("classify.one_layer").network.shapes
        ((2, 61),)
        """
        part, codes = getattr(self, name.partition(".")[0]), dots(self.words, self.letters)
        task: Classify | Reconstruct
        if isinstance(part, ReconstructConfig):
            hidden = part.hidden_probability
            task = Reconstruct(codes, part.flip_probability, hidden, tested=self.test_samples)
        else:
            task = Classify(codes, part.flip_probability, tested=self.test_samples)
        return self.learner(name, change).learning_plan(name, self.seed, task, self.machine)

    @property
    def ways(self) -> dict[str, dict[str, Any]]:
        """What the shipped way of writing is compared with: what of the learner changes."""
        step = 1e6 * load(self.machine.device).pulse_step  # both cells move by about half of it
        return {
            **{f"accumulate {n} uS": {"rule": {"threshold": f"{n} uS"}} for n in (2, 5, 40)},
            "program-and-verify every step": {"rule": {"kind": "descent"}},
            "open-loop single pulses": {
                "writing": {"way": {"kind": "single-pulse"}}, "rule": {"threshold": f"{step:g} uS"}
            },
        }  # fmt: skip
