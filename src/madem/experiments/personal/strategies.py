"""What can be done about one writer's words, from guessing to learning on a chip."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
import torch
from torch import Generator, Tensor

from madem.data.hand import Hands
from madem.data.task import Samples
from madem.experiments.personal.config import PersonalConfig
from madem.experiments.running.online import Calibrated, program
from madem.learn.continual import Learner, Teaching, arrivals
from madem.learn.watch import Page, watch_of
from madem.ledger import Event, Ledger
from madem.randomness import stream


@dataclass(frozen=True, eq=False)
class Session:
    """Words of one writer: what is felt, which they are, in which hand, and when, s.

    ``asked``, ``label``: which get a label, and what it says; ``delay``: how late, s; ``share``: of
    words that get one, in the mean.
    """

    x: Tensor
    word: Tensor
    hand: Tensor
    time: Tensor
    asked: Tensor
    label: Tensor
    delay: float
    share: float


@dataclass(frozen=True, eq=False)
class Bench:
    """What all strategies share.

    ``calibration``, ``validation``: words of everybody, from which all is trained, and from which
    alarms know what is usual; ``session``: of the writer; ``others``: of yet other writers, read
    after it; ``tuning``: sessions of yet other strong hands, on which digital rivals are tuned;
    ``trained``: for ``chip`` and ``ideal``.
    """

    config: PersonalConfig
    hands: Hands
    codes: Tensor
    calibration: Samples
    validation: Samples
    session: Session
    others: Samples
    tuning: Sequence[Session]
    trained: Mapping[str, Calibrated]
    seed: int
    tell: Callable[[int], None] = lambda _: None

    @property
    def words(self) -> int:
        """How many there are to choose from."""
        return len(self.codes)

    def draws(self, name: str) -> Generator:
        """Return the stream of a strategy."""
        return stream(self.seed, "personal", name)


@dataclass(frozen=True, eq=False)
class Found:
    """Which words of the session, and of the others after it, were misread, ``(chips, words)``.

    ``writes``: of all cells in the session, each chip.
    """

    session: Tensor
    others: Tensor
    writes: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.float64))
    judging: Ledger | None = None
    learning: Ledger | None = None


Doing = Callable[[Bench, str], Found]
"""A strategy at work, given its name."""


@dataclass(frozen=True)
class Strategy:
    """A ``title`` for people, what is done, and who reads with what it ``began`` with."""

    title: str
    run: Doing
    began: str = "frozen"


def guess(bench: Bench, name: str) -> Found:
    """Always say the commonest word of everybody's."""
    del name
    said = bench.calibration[1].bincount().argmax()
    return Found((bench.session.word != said)[None], (bench.others[1] != said)[None])


def usual(bench: Bench) -> Tensor:
    """Return the templates: the mean of what is felt of each word, ``(words, dots)``.

    The dots themselves of a word that never came.
    """
    x, word = bench.calibration
    came = word.bincount(minlength=bench.words)[:, None]
    total = torch.zeros_like(bench.codes).index_add(0, word, x)
    return torch.where(came > 0, total / came.clamp_min(1), bench.codes)


def levelled(bench: Bench, x: Tensor, window: int) -> Tensor:
    """Return a session's ``x`` with each dot's mean and spread as they were in calibration.

    Of the last ``window`` words before each block; until there are as many, of calibration's too.
    """
    known, parts = bench.calibration[0], []
    mean, spread = known.mean(0), known.std(0)
    for start in range(0, len(x), bench.config.block):
        seen = torch.cat([known[-window:], x[:start]])[-window:]
        block = x[start : start + bench.config.block]
        parts.append((block - seen.mean(0)) / seen.std(0).clamp_min(0.1) * spread + mean)
    return torch.cat(parts)


@dataclass(frozen=True)
class Moving:
    """How templates follow a writer: moved by a ``rate`` towards what is felt.

    ``window``: of dots' levels, None where they are as calibrated.
    """

    rate: float = 0.0
    window: int | None = None


WINDOWS = (100, 300, 1000)
RATES = (0.003, 0.01, 0.03, 0.1)
LABELLED = (0.01, 0.03, 0.1, 0.3)
"""What is tried of either, on other writers, with all that is known of them."""


def nearest(templates: np.ndarray, felt: np.ndarray) -> int:
    """Return the number of the nearest of ``templates``."""
    return int(((templates - felt) ** 2).sum(1).argmin())


def self_taught(bench: Bench, session: Session, how: Moving) -> tuple[Tensor, Tensor]:
    """Move the template of the word that was read; return what was read, and the templates."""
    x = session.x if how.window is None else levelled(bench, session.x, how.window)
    held, read = usual(bench).numpy(), []
    for felt in x.numpy():
        read.append(nearest(held, felt))
        held[read[-1]] += how.rate * (felt - held[read[-1]])
    return torch.tensor(read), torch.from_numpy(held)


def corrected(
    bench: Bench, session: Session, how: Moving, kept: Sequence[Tensor] = ()
) -> tuple[Tensor, Tensor]:
    """Move the template of the word that a label says; likewise.

    ``kept``: templates beside those that move, ``(words, dots)``; the nearest of all is read.
    """
    held, read = usual(bench), []
    for part, came in arrivals(session.time, session.asked, session.delay, bench.config.block):
        nearby = torch.cdist(session.x[part], torch.cat([held, *kept]))
        read.append(nearby.argmin(1) % bench.words)
        for felt, word in zip(session.x[came], session.label[came].tolist(), strict=True):
            held[word] += how.rate * (felt - held[word])
    return torch.cat(read), torch.cat([held, *kept])


def beside(bench: Bench, session: Session, how: Moving) -> tuple[Tensor, Tensor]:
    """Likewise, with everybody's templates kept beside those that move."""
    return corrected(bench, session, how, [usual(bench)])


Following = Callable[[Bench, Session, Moving], tuple[Tensor, Tensor]]


def templates(follow: Following, tried: Sequence[Moving]) -> Doing:
    """Return templates that ``follow`` a writer, as did best of those ``tried`` on other writers.

    Best is who misread the fewest words late in their sessions.
    """

    def run(bench: Bench, name: str) -> Found:
        del name
        late = late_of(bench.config)

        def wrong(how: Moving) -> int:
            return sum(
                int((follow(bench, each, how)[0] != each.word)[late].sum()) for each in bench.tuning
            )

        best = tried[0] if len(tried) == 1 else min(tried, key=wrong)
        read, held = follow(bench, bench.session, best)
        x, word = bench.others
        after = torch.cdist(x, held).argmin(1) % bench.words
        judging, learning = arithmetic(len(read) + len(x), held), Ledger()
        moves = int(bench.session.asked.sum()) if follow is not self_taught else len(read)
        moved = float(moves * held.shape[1] * bool(best.rate))
        learning(Event("accumulator access", moved))
        return Found(
            (read != bench.session.word)[None], (after != word)[None],
            judging=judging, learning=learning,
        )  # fmt: skip

    return run


def arithmetic(count: int, held: Tensor) -> Ledger:
    """Return what ``count`` words cost that are compared with templates: reads and products."""
    ledger = Ledger()
    for item in ("model weight read", "activity product"):
        ledger(Event(item, float(count * held.numel())))
    return ledger


def late_of(config: PersonalConfig) -> slice:
    """Return the words of a session that count."""
    return slice(-max(1, round(config.late * config.session)), None)


def stepwise(
    bench: Bench, name: str, where: str, teaching: Teaching,
    teach: Callable[[Learner, Tensor, Tensor, Tensor], None] | None = None,
    x: Tensor | None = None,
) -> Found:  # fmt: skip
    """Judge every block, then let ``teach`` see the labels that have come, if anything does.

    It is given the learner, inputs, labels, and which were misread by them, ``(chips, words)``.
    ``x``: the session's inputs where they are not what was felt. A reservoir begins with as many
    of everybody's words as it has room for, as far as it has groups besides the writer's.
    """
    session, words = bench.session, bench.words
    learner = bench.trained[where].learner(teaching, bench.draws(name), where == "chip")
    shared = teaching.reservoir is not None and teaching.reservoir.classes > words
    own = words if shared else 0
    if shared:
        learner.remember(*bench.calibration)
    seen, read = session.x if x is None else x, list[Tensor]()
    for part, came in arrivals(session.time, session.asked, session.delay, bench.config.block):
        read.append(learner.outputs(seen[part]).argmax(-1))
        if teach is not None and len(came):
            label = session.label[came]
            judged = torch.cat(read, -1)[..., came] != label
            teach(learner, seen[came], label + own, judged)
        bench.tell(part.stop)
    wrong = torch.cat(read, -1) != session.word
    after = learner.outputs(bench.others[0]).argmax(-1) != bench.others[1]
    flat = wrong.view(-1, wrong.shape[-1]), after.view(-1, after.shape[-1])
    if isinstance(learner.judging, Ledger):
        return Found(*flat, learner.written, learner.judging, learner.learning)  # type: ignore[arg-type]
    return Found(*flat)


def still(bench: Bench, name: str) -> Found:
    """Read with the network as everybody trained it."""
    return stepwise(bench, name, "chip", bench.config.teaching())


def running(bench: Bench, name: str) -> Found:
    """Likewise, with each dot's running level, whose window is tuned on other writers."""
    late = late_of(bench.config)

    def wrong(window: int) -> float:
        found = (
            stepwise(replace(bench, session=each, tell=lambda _: None), name, "chip",
                     bench.config.teaching(), x=levelled(bench, each.x, window)).session
            for each in bench.tuning
        )  # fmt: skip
        return sum(float(each[:, late].double().sum()) for each in found)

    x = levelled(bench, bench.session.x, min(WINDOWS, key=wrong))
    return stepwise(bench, name, "chip", bench.config.teaching(), x=x)


def taught(groups: int, where: str = "chip") -> Doing:
    """Return a network that learns from every label.

    ``groups``: of words in its reservoir: none without one, the writer's, or everybody's too.
    """

    def run(bench: Bench, name: str) -> Found:
        return stepwise(
            bench, name, where, bench.config.teaching(groups),
            lambda own, x, label, _: own.learn(x, label),
        )  # fmt: skip

    return run


def alarmed(bench: Bench, name: str) -> Found:
    """Learn on those chips alone, and as long, as an alarm on misread labelled words says."""
    config = bench.config
    chips = config.machine.chips
    sums, left, watches = [0.0] * chips, torch.zeros(chips), list[Page]()
    before = bench.trained["chip"].learner(config.teaching(), bench.draws(f"{name}.before"))
    x, word = bench.validation
    for wrong in before.outputs(x).argmax(-1) != word:
        watches.append(watch_of(int(wrong.sum()), len(wrong)))

    def teach(own: Learner, x: Tensor, label: Tensor, judged: Tensor) -> None:
        nonlocal left
        for chip in range(chips):
            sums[chip], at = watches[chip].heard(sums[chip], judged[chip].tolist())
            if at is not None:
                left[chip] = config.alert
        if bool((left > 0).any()):
            own.learn(x, label, (left > 0).float())
        else:
            own.remember(x, label)
        left = (left - len(label)).clamp_min(0)

    return stepwise(bench, name, "chip", config.teaching(2), teach)


def retrained(bench: Bench, name: str) -> Found:
    """Train digitally on both reservoirs every so often, and program the result onto the chip."""
    config, since = bench.config, 0
    once = replace(config.teaching(2), updates=300)
    trainer = bench.trained["ideal"].learner(once, bench.draws("retrain"))
    trainer.remember(*bench.calibration)

    def teach(chip: Learner, x: Tensor, label: Tensor, _: Tensor) -> None:
        nonlocal since
        since += len(label)
        if since < config.retrain * bench.session.share:
            trainer.remember(x, label)
            return
        since = 0
        trainer.learn(x, label)
        program(chip, trainer)

    return stepwise(bench, name, "chip", config.teaching(2), teach)


def known(bench: Bench, name: str) -> Found:
    """Read as well as anybody can who knows the writer's hand; of the others, as well as any can.

    Exact: the likeliest word. Of the others, whose hands are not known, as templates read them.
    """
    del name
    session, hands = bench.session, bench.hands
    shown = hands.shown(session.hand[:, None].expand(-1, bench.words, -1),
                        bench.codes.expand(len(session.x), -1, -1))  # fmt: skip
    read = hands.likelihood(session.x, shown).argmax(-1)
    x, word = bench.others
    after = torch.cdist(x, usual(bench)).argmin(1)
    return Found((read != session.word)[None], (after != word)[None])


STILL = (Moving(),)
ALONE = tuple(Moving(rate, window) for rate, window in product(RATES, (None, *WINDOWS)))
ALONE += tuple(Moving(0.0, window) for window in WINDOWS)
TOLD = tuple(Moving(rate) for rate in LABELLED)

STRATEGIES: dict[str, Strategy] = {
    "guess": Strategy("the commonest word", guess, "guess"),
    "template": Strategy("nearest template, as calibrated",
                         templates(self_taught, STILL), "template"),
    "running": Strategy("nearest template, running, without labels",
                        templates(self_taught, ALONE), "template"),
    "corrected": Strategy("nearest template, moved by labels",
                          templates(corrected, TOLD), "template"),
    "beside": Strategy("nearest template, by labels, everybody's kept beside",
                       templates(beside, TOLD), "template"),
    "frozen": Strategy("network, as calibrated", still),
    "levelled": Strategy("network, running levels of its dots", running),
    "retrained": Strategy("digital retraining, programmed", retrained),
    "fresh": Strategy("on the chip, no replay", taught(0)),
    "own": Strategy("on the chip, replay of the writer's words", taught(1)),
    "product": Strategy("on the chip, replay of everybody's too", taught(2)),
    "alarmed": Strategy("on the chip, both, after an alarm alone", alarmed),
    "digital": Strategy("ideal digital, same updates", taught(2, "ideal")),
    "known": Strategy("who knows the hand", known, "known"),
}  # fmt: skip
"""All strategies, in the order in which they are told."""
