"""The learning rules that are compared.

For each: what it knows of its chip, how it computes a gradient, and how that is written.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from statistics import fmean

import torch

from madem import learn, training
from madem.experiments.config.names import accumulated, written_sparsely
from madem.experiments.config.parts import OPTIMISERS
from madem.experiments.spectrum.benches import Bench, Recipe
from madem.experiments.spectrum.imperfections import SETTLES
from madem.experiments.spectrum.joules import a_sample, arithmetic, phase_times
from madem.experiments.spectrum.modelled import Modelled
from madem.experiments.spectrum.results import Outcome, Tried
from madem.ledger import Event, Ledger
from madem.randomness import stream

Under = Callable[[Mapping[str, float]], Outcome]
"""What comes of a rule on chips with what is severe."""


@dataclass(frozen=True)
class ExSitu:
    """Trained in a computer, with no weight beyond ``limit``, and programmed once.

    ``noise``: of every weight while it learns, drawn anew in every step.
    """

    limit: float
    noise: float = 0.0


@dataclass(frozen=True)
class Way:
    """A rule of the spectrum, by its ``short`` name and its ``title``.

    ``own``: what its second tuned number is; ``rates`` and ``numbers``: the candidates of both;
    ``make``: how it learns, given its bench and that number.
    """

    short: str
    title: str
    own: str
    rates: tuple[float, ...]
    numbers: tuple[float, ...]
    make: Callable[[Bench, float], Recipe | ExSitu]

    @property
    def grid(self) -> list[tuple[float, float]]:
        """All candidates, a rate and a number each."""
        return list(product(self.rates, self.numbers))

    def begin(self, bench: Bench, rate: float, own: float, counted: bool = False) -> Under:
        """Return how chips do that learned with ``rate`` and ``own``, by what is severe about them.

        Weights that are trained in a computer, the same for all of them, are trained here.
        ``counted``: whether joules are.
        """
        how = self.make(bench, own)
        if isinstance(how, ExSitu):
            return programmed(bench, rate, how, counted)

        def under(severe: Mapping[str, float]) -> Outcome:
            how = self.make(bench, own)  # each with an estimator and a rule of its own
            assert isinstance(how, Recipe)
            return learned(training.Trainer(bench.plan(how, rate, severe), counted=counted))

        return under

    def tune(self, bench: Bench) -> Callable[[Mapping[str, float]], Tried]:
        """Return what all candidates of the ``grid`` read on chips of ``bench``, by what is severe.

        Candidates of one number learn at once, each rate on as many chips of its own.
        """
        if isinstance(self.make(bench, self.numbers[0]), ExSitu):
            unders = [self.begin(bench, *each) for each in self.grid]
            return lambda severe: Tried(read=[fmean(under(severe).accuracy) for under in unders])

        def tried(severe: Mapping[str, float]) -> Tried:
            count, chips = len(self.rates), bench.chips
            rates = torch.tensor(self.rates).repeat_interleave(chips)[:, None, None]
            many, read = replace(bench, chips=count * chips), list[list[float]]()
            for own in self.numbers:
                how = self.make(many, own)
                assert isinstance(how, Recipe)
                each = learned(training.Trainer(many.plan(how, rates, severe), counted=False))
                read.append(torch.tensor(each.accuracy).view(count, chips).mean(-1).tolist())
            return Tried(read=[mean for both in zip(*read, strict=True) for mean in both])

        return tried


def learned(trainer: training.Trainer) -> Outcome:
    """Train to the end, and return what came of it."""
    counted = bool(trainer.ledger.totals)
    untrained = phase_times(trainer.plan, trainer.machine) if counted else {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "beta auto")  # where chips are exact
        while not trainer.done:
            trainer.advance()
    trained = phase_times(trainer.plan, trainer.machine) if counted else {}
    last, written = trainer.curve[-1], float(trainer.written_fraction.mean())
    times = training.longer(untrained, trained)
    return Outcome(
        accuracy=last["score"], unsettled=last["unsettled"] or 0.0, written=written,
        **(a_sample(trainer.ledger, trainer.plan, times) if counted else {}),
    )  # fmt: skip


def programmed(bench: Bench, rate: float, how: ExSitu, counted: bool = False) -> Under:
    """Train digitally; the largest weight of a layer is as much as its cells have room for."""
    nothing = Recipe(learn.centred(1.0), learn.Descent())
    ideal = bench.plan(nothing, rate, {})
    joints = len(ideal.network.joints)
    weights = training.train_digitally(ideal, training.Digital(
        OPTIMISERS["adam"], [rate] * joints, [how.limit] * joints, [how.noise] * joints, 0.5
    ), "digital")  # fmt: skip
    most = [max(float(p.abs().max()) for p in mine) for mine in weights]
    sample = next(ideal.task.batches((*ideal.ensemble, bench.batch), stream(0, "sweeps"), 0))[0]
    problem = ideal.network.bind(ideal.network.couple(weights), sample)
    sweeps = float(SETTLES.settle(problem).sweeps.double().mean())

    def under(severe: Mapping[str, float]) -> Outcome:
        plan = bench.plan(nothing, rate, severe)
        making = training.chips_of(plan)
        cells = making.cells
        units = tuple((cells.cell.high - cells.base) / each for each in most)
        chips = replace(making, cells=replace(cells, units=units)).assemble(plan, weights)
        x, target = plan.held("validation")
        found = training.scores(plan, chips, x, target, "test")
        accuracy, ledger = found.mean(-1).tolist(), Ledger()
        if not counted:
            return Outcome(accuracy=accuracy)
        heard = arithmetic(plan.network, bench.steps * bench.batch, sweeps, sweeps)
        for event in [*heard, Event("verified write", float(training.cells_in(plan)))]:
            ledger(event)
        return Outcome(accuracy=accuracy, **a_sample(ledger, plan, {}))

    return under


THRESHOLD = 15e-6
"""What has to add up before a cell is written, S, where it is not tuned; as in the main job."""

NOISY_LIMIT = 0.5
"""Largest magnitude of a weight that learns with noise: the smaller of those tuned without."""

RATES, HELD_RATES = (0.15, 0.3, 0.5), (0.05, 0.1, 0.2)
LEAST, LEAST_TITLE = (5e-6, 15e-6), "threshold of a write, S"
NUDGES, NUDGE_TITLE = (0.3, 1.0), "nudge over the task's"


def differences(estimator: learn.Estimator, bench: Bench, least: float = THRESHOLD) -> Recipe:
    """Return how activity differences learn; cells are written as soon as ``least`` is due, S."""
    return Recipe(estimator, accumulated(bench.sizes.units, least))


def held(estimator: learn.Estimator, bench: Bench, least: float = THRESHOLD) -> Recipe:
    """Return how differences learn that hold the outputs, which are inside the energy."""
    return Recipe(estimator, accumulated(bench.sizes.inside, least), inside=True)


def sparse(bench: Bench, least: float) -> Recipe:
    """Return how centred differences learn that are written sparsely, small changes by chance."""
    draws = stream(bench.seed, bench.name, "sparse")
    rule = written_sparsely(bench.sizes.units, draws, least)
    return Recipe(learn.centred(bench.sizes.beta), rule)


def tiki_taka(bench: Bench, gain: float) -> Recipe:
    """Return how centred differences learn that go to a fast array, handed on with ``gain``."""
    front = training.FastInFront(gain, threshold=THRESHOLD)
    return Recipe(learn.centred(bench.sizes.beta), learn.Descent(), holding=front)


WAYS: dict[str, Way] = {
    "ex-situ": Way(
        "ex situ", "backpropagation ex situ, programmed once", "largest weight",
        (3e-3, 1e-2, 3e-2), (0.5, 2.0), lambda _, own: ExSitu(own)),
    "noise-aware": Way(
        "noise-aware", "backpropagation ex situ, trained with noise",
        "noise over largest weight", (1e-2, 3e-2), (0.03, 0.1, 0.2),
        lambda _, own: ExSitu(NOISY_LIMIT, own * NOISY_LIMIT)),
    "in-situ": Way(
        "model in situ", "backpropagation through an ideal model of the chip", LEAST_TITLE,
        RATES, LEAST, lambda bench, own: replace(
            differences(Modelled(False), bench, own), holding=training.AsAsked())),
    "in-the-loop": Way(
        "chip in the loop", "chip in the loop: states measured, backward modelled",
        LEAST_TITLE, RATES, LEAST, lambda bench, own: replace(
            differences(Modelled(True), bench, own), holding=training.AsAsked(absolute=False))),
    "tiki-taka": Way(
        "Tiki-Taka class", "Tiki-Taka class, centred differences", "gain of a transfer",
        RATES, (0.5, 2.0), tiki_taka),
    "centred": Way(
        "centred", "activity differences, centred", NUDGE_TITLE, RATES, NUDGES,
        lambda bench, own: differences(learn.centred(bench.sizes.beta * own), bench)),
    "positive": Way(
        "positive", "activity differences, nudged one way", NUDGE_TITLE, RATES, NUDGES,
        lambda bench, own: differences(learn.positive(bench.sizes.beta * own), bench)),
    "auto": Way(
        "centred, auto", "activity differences, centred, as strong as noise asks for",
        LEAST_TITLE, RATES, LEAST,
        lambda bench, own: differences(learn.centred(learn.Measured()), bench, own)),
    "sampled": Way(
        "sampled, auto", "activity differences, sampled and then converted",
        LEAST_TITLE, RATES, LEAST, lambda bench, own: replace(
            differences(learn.centred(learn.Measured()), bench, own), sampled=True)),
    "contrastive": Way(
        "contrastive", "activity differences, contrastive", LEAST_TITLE, HELD_RATES, LEAST,
        lambda bench, own: held(learn.contrastive(), bench, own)),
    "coupled": Way(
        "coupled", "activity differences, coupled", "share of the way to the target",
        HELD_RATES, (0.2, 0.6), lambda bench, own: held(learn.coupled(own), bench)),
    "sparse": Way(
        "centred, sparse", "centred, stochastic sparse writes", LEAST_TITLE, RATES, LEAST,
        sparse),
}  # fmt: skip
"""Every rule by its name in the config, all with as many candidates."""
