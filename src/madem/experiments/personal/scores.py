"""From words that were misread to shares, with intervals over writers and words, and to claims."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from torch import Tensor

from madem.experiments.personal.config import CONDITIONS, PersonalConfig
from madem.experiments.personal.results import PersonalResults, Row, Shown, Spent
from madem.experiments.personal.strategies import STRATEGIES
from madem.experiments.running.online import mean_spent
from madem.experiments.running.results import Contrast, Interval
from madem.training.statistics import redrawn

WINDOW = 100
"""Words over which a share is told."""

Part = Literal["session", "others"]
"""The writer's late words, and those of others after the session."""


class Compared:
    """Strategies under one condition, on the same writers and words, drawn again together."""

    def __init__(self, config: PersonalConfig, held: Sequence[Mapping[str, Tensor]]) -> None:
        """Draw writers, and words of each of them."""
        self.mean, self.drawn = dict[tuple[str, Part], Any](), dict[tuple[str, Part], Any]()
        self.least = 0.5 / sum(len(each["frozen.session"]) for each in held)  # half a word
        for part in ("session", "others"):
            draws = np.random.default_rng(config.seed)
            tables = [np.stack([each[f"{key}.{part}"].numpy() for key in STRATEGIES])
                      for each in held]  # fmt: skip
            samples = redrawn(tables, config.resamples, draws)
            for place, key in enumerate(STRATEGIES):
                self.mean[key, part] = np.mean([table[place].mean() for table in tables])
                self.drawn[key, part] = samples[:, place]

    def misread(self, key: str, part: Part = "session") -> Interval:
        """Return the share that a strategy misreads."""
        return Interval.of(self.mean[key, part], self.drawn[key, part])

    def more(self, key: str, other: str, part: Part = "session") -> Interval:
        """Return how much larger a share ``key`` misreads than ``other``."""
        drawn = self.drawn[key, part] - self.drawn[other, part]
        return Interval.of(self.mean[key, part] - self.mean[other, part], drawn)

    def fewer(self, key: str, other: str) -> Interval:
        """Return the share of what ``other`` misreads that ``key`` does not."""
        mean = 1 - self.mean[key, "session"] / max(self.mean[other, "session"], self.least)
        drawn = 1 - self.drawn[key, "session"] / np.maximum(
            self.drawn[other, "session"], self.least
        )
        return Interval.of(mean, drawn)


def halved(windows: Sequence[float], lost: Sequence[float], best: Sequence[float]) -> int | None:
    """Return after how many words the first of ``windows`` ends that has half the loss, or None.

    The loss is what is ``lost`` beyond the ``best``, means over the session.

    >>> halved([0.5, 0.4, 0.2, 0.1], [0.5] * 4, [0.1] * 4)
    300
    """
    half = (np.mean(lost) + np.mean(best)) / 2
    return next((WINDOW * (n + 1) for n, share in enumerate(windows) if share <= half), None)


def row_of(key: str, found: Compared, told: Sequence[Mapping[str, Any]]) -> Row:
    """Return how a strategy did, from what the jobs of all writers say of all strategies."""

    def windows(name: str) -> list[float]:
        return [float(mean) for mean in np.mean([each[name]["windows"] for each in told], 0)]

    own = [each[key] for each in told]
    spent = mean_spent(own)
    return Row(
        misread=found.misread(key),
        others=found.misread(key, "others"),
        forgotten=found.more(key, STRATEGIES[key].began, "others"),
        windows=windows(key),
        halved=halved(windows(key), windows("frozen"), windows("known")),
        writes=float(np.mean([each["writes"] for each in own])),
        spent=None if spent is None else Spent(**spent),
    )


def results_of(
    config: PersonalConfig,
    scores: Mapping[str, Mapping[str, Tensor]],
    held: Mapping[str, Any],
) -> PersonalResults:
    """Return all results from the tensors and the records of all jobs."""
    shown, compared = dict[str, Shown](), dict[str, Compared]()
    seeds = range(config.seed, config.seed + config.seeds)
    for condition in config.conditions:
        own = [scores[f"{condition}.{seed}"] for seed in seeds]
        told = [held[f"{condition}.{seed}"] for seed in seeds]
        compared[condition] = Compared(config, own)
        shown[condition] = Shown(
            title=CONDITIONS[condition],
            words=sum(len(each["frozen.session"]) for each in own),
            others=sum(len(each["frozen.others"]) for each in own),
            labels=float(np.mean([each["labels"] for each in told])) / config.session,
            rows={key: row_of(key, compared[condition], told) for key in STRATEGIES},
        )  # fmt: skip
    return PersonalResults(
        seed=config.seed, seeds=config.seeds, chips=config.machine.chips, window=WINDOW,
        conditions=shown, contrasts=[*claims_of(shown, compared)],
    )  # fmt: skip


RIVALS = {
    "frozen": "the network as calibrated",
    "running": "templates running without labels",
    "beside": "templates moved by labels",
}


def claims_of(shown: Mapping[str, Shown], compared: Mapping[str, Compared]) -> Iterator[Contrast]:
    """Yield what is claimed of learning on the chip, with its bar."""
    for key, found in compared.items():
        title = shown[key].title
        if key == "none":
            for strategy, how in (("product", ""), ("alarmed", ", after an alarm alone")):
                said = f"{title}: misread beyond the network as calibrated{how}"
                yield Contrast.at_most(said, found.more(strategy, "frozen"), 0.005)
        else:
            for rival, name in RIVALS.items():
                said = f"{title}: of what is misread by {name}, read on the chip"
                yield Contrast.above(said, found.fewer("product", rival), "%")
            said = f"{title}: misread beyond ideal digital learning"
            yield Contrast.at_most(said, found.more("product", "digital"), 0.015)
        forgotten = found.more("product", "frozen", "others")
        yield Contrast.at_most(f"{title}: others forgotten", forgotten, 0.01)
    if "hand" in shown:
        title, row = shown["hand"].title, shown["hand"].rows["product"]
        saved = compared["hand"].more("own", "product", "others")
        yield Contrast.above(
            f"{title}: forgotten more by replay of the writer alone", saved, "points"
        )
        labels = -1.0 if row.halved is None else row.halved * shown["hand"].labels
        yield Contrast.plain(f"{title}: until half the loss is gone", labels, "frames",
                             "at most 200", 0 <= labels <= 200)  # fmt: skip
        yield Contrast.plain(f"{title}: writes a cell in the session", row.writes, "writes",
                             "at most 2", row.writes <= 2)  # fmt: skip
